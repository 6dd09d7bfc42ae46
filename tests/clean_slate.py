"""Clean slate: a program that compares all that is known of one customer once nothing is under way.

Our rows, our ledger, our events and the book of the payment gateway (PG) must tell one story: each
payment took everything once, or nothing. Every invariant is a function of its own, which raises a
`Residue` that names what differs.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, or_, select

from domain import ledger as accounts
from domain import points
from domain.coupon import CouponUseState
from domain.event import Topic
from domain.inventory import ReservationState
from domain.order import OrderStatus
from domain.payment import FINAL, PayableType, PaymentStatus
from domain.refund import FINAL as FINAL_REFUND
from domain.refund import RefundStatus, late_capture_refund_id
from domain.saga import PAYMENT_COMPLETE, PAYMENT_FAIL, StepState
from store.database import Transaction
from store.tables import (
    coupon_uses,
    coupons,
    gateway_attempts,
    inventory,
    ledger_transactions,
    orders,
    outbox,
    payments,
    postings,
    refunds,
    reviews,
    saga_steps,
    stock_reservations,
    wallet_holds,
    wallets,
)
from tests.billing import Billing

Row = Mapping[str, Any]
Totals = Mapping[str, Mapping[str, int]]
"""Per currency: `captured` and `refunded`."""

Book = Callable[[str], Awaitable[Totals]]
"""What the PG's own book says of a payment."""


class Residue(AssertionError):
    """Two of our books differ, or something was left behind."""


@dataclass(frozen=True)
class Slate:
    """All that is known of one customer."""

    customer_id: str
    wallets: tuple[Row, ...]
    orders: tuple[Row, ...]
    payments: tuple[Row, ...]
    refunds: tuple[Row, ...]
    holds: tuple[Row, ...]
    steps: tuple[Row, ...]
    postings: tuple[Row, ...]
    """Every posting of each ledger transaction that touches the customer, with its key and kind."""
    events: tuple[Row, ...]
    coupons: tuple[Row, ...]
    """Those that the customer's payments used."""
    uses: tuple[Row, ...]
    """Every use of these coupons, by whomever."""
    stock: tuple[Row, ...]
    """The SKUs that the customer's payments reserved."""
    reservations: tuple[Row, ...]
    """Every reservation of these SKUs, by whomever."""
    reviews: tuple[Row, ...]
    attempts: tuple[Row, ...]
    stocked: Mapping[str, int]
    """What was put in stock, by SKU, where the test knows it."""
    books: Mapping[str, Totals]


async def assert_clean_slate(billing: Billing, book: Book | None = None) -> Slate:
    """Compare everything; raises one `Residue` that names every difference."""
    slate = await read(billing, book or _of_simulator(billing))
    differences: list[str] = []
    for invariant in INVARIANTS:
        try:
            invariant(slate)
        except Residue as residue:
            differences.append(f"{invariant.__name__}: {residue}")
    if differences:
        raise Residue("\n".join(differences))
    return slate


async def read(billing: Billing, book: Book) -> Slate:
    """Read one customer from the database in one snapshot, and its payments from the PG's book."""
    customer_id = billing.customer_id
    async with billing.database.engine.connect() as connection:
        tx = await connection.execution_options(isolation_level="REPEATABLE READ")
        paid = await _rows(tx, select(payments).where(payments.c.customer_id == customer_id))
        ids = [row["id"] for row in paid]
        touching = (
            select(postings.c.transaction_id)
            .join_from(postings, ledger_transactions)
            .where(
                or_(
                    postings.c.account.startswith(f"wallet:{customer_id}:", autoescape=True),
                    ledger_transactions.c.payment_id.in_(ids),
                )
            )
        )
        codes = select(coupon_uses.c.code).where(coupon_uses.c.payment_id.in_(ids))
        skus = select(stock_reservations.c.sku).where(stock_reservations.c.payment_id.in_(ids))
        slate = Slate(
            customer_id=customer_id,
            wallets=await _rows(tx, select(wallets).where(wallets.c.customer_id == customer_id)),
            orders=await _rows(tx, select(orders).where(orders.c.customer_id == customer_id)),
            payments=paid,
            refunds=await _rows(tx, select(refunds).where(refunds.c.payment_id.in_(ids))),
            holds=await _rows(tx, select(wallet_holds).where(wallet_holds.c.payment_id.in_(ids))),
            steps=await _rows(tx, select(saga_steps).where(saga_steps.c.saga_id.in_(ids))),
            postings=await _rows(
                tx,
                select(
                    postings,
                    ledger_transactions.c.key,
                    ledger_transactions.c.kind,
                    ledger_transactions.c.payment_id,
                )
                .join_from(postings, ledger_transactions)
                .where(postings.c.transaction_id.in_(touching)),
            ),
            events=await _rows(
                tx,
                select(outbox).where(outbox.c.customer_id == customer_id).order_by(outbox.c.id),
            ),
            coupons=await _rows(tx, select(coupons).where(coupons.c.code.in_(codes))),
            uses=await _rows(tx, select(coupon_uses).where(coupon_uses.c.code.in_(codes))),
            stock=await _rows(tx, select(inventory).where(inventory.c.sku.in_(skus))),
            reservations=await _rows(
                tx, select(stock_reservations).where(stock_reservations.c.sku.in_(skus))
            ),
            reviews=await _rows(tx, select(reviews).where(reviews.c.payment_id.in_(ids))),
            attempts=await _rows(
                tx, select(gateway_attempts).where(gateway_attempts.c.payment_id.in_(ids))
            ),
            stocked=dict(billing.stocked),
            books={},
        )
    return Slate(**{**vars(slate), "books": {id_: await book(id_) for id_ in ids}})


def every_transaction_balances(slate: Slate) -> None:
    sums: Counter[tuple[str, str]] = Counter()
    for posting in slate.postings:
        sums[posting["key"], posting["unit"]] += posting["amount"]
    _none({key: total for key, total in sums.items() if total}, "do not sum to zero")


def wallets_are_the_sum_of_their_postings(slate: Slate) -> None:
    booked: Counter[tuple[str, str]] = Counter()
    for posting in slate.postings:
        if posting["account"].startswith(f"wallet:{slate.customer_id}:"):
            booked[posting["account"], posting["unit"]] += posting["amount"]
    rows: Counter[tuple[str, str]] = Counter()
    for wallet in slate.wallets:
        rows[accounts.available(slate.customer_id), wallet["currency"]] += wallet["available"]
        rows[accounts.held(slate.customer_id), wallet["currency"]] += wallet["held"]
    differing = {key: (rows[key], booked[key]) for key in {*rows, *booked}}
    differing = {key: pair for key, pair in differing.items() if pair[0] != pair[1]}
    _none(differing, "(row, sum of postings) differ")


def nothing_is_under_way(slate: Slate) -> None:
    open_ = {row["id"]: row["status"] for row in slate.payments if row["status"] not in FINAL}
    open_ |= {
        row["id"]: row["status"] for row in slate.refunds if row["status"] not in FINAL_REFUND
    }
    _none(open_, "have no final state")


def nothing_is_held(slate: Slate) -> None:
    _none({row["currency"]: row["held"] for row in slate.wallets if row["held"]}, "are held")
    held = {hold["payment_id"]: hold["state"] for hold in slate.holds if hold["state"] == "HELD"}
    _none(held, "have a hold that was neither committed nor given back")
    open_ = {ReservationState.RESERVED, ReservationState.NEEDS_REVIEW}
    ours = [row for row in _ours(slate, slate.reservations) if row["state"] in open_]
    _none(ours, "are reservations that were neither committed nor given back")
    used = [row for row in _ours(slate, slate.uses) if row["state"] == CouponUseState.IN_USE]
    _none(used, "are coupons that were neither used up nor given back")


def nobody_is_asked_any_more(slate: Slate) -> None:
    asked = {row["reference_id"]: row["reason"] for row in slate.reviews if not row["closed_at"]}
    _none(asked, "wait for a person")


def no_authorization_is_left_open(slate: Slate) -> None:
    """Of a payment that took nothing: let go, or captured late and refunded."""
    outcomes = {(row["payment_id"], row["operation"]): row["outcome"] for row in slate.attempts}
    for payment in slate.payments:
        if _completed(payment) or outcomes.get((payment["id"], "authorize")) != "AUTHORIZED":
            continue
        _same(payment, "its capture", "CAPTURED", outcomes.get((payment["id"], "capture")))


def every_attempt_has_an_outcome(slate: Slate) -> None:
    open_ = [row for row in slate.attempts if row["outcome"] is None]
    _none([(row["payment_id"], row["operation"]) for row in open_], "are attempts without an end")


def holds_end_as_their_payments(slate: Slate) -> None:
    holds = {(hold["payment_id"], hold["currency"]): hold for hold in slate.holds}
    for payment in slate.payments:
        parts = {
            payment["currency"]: payment["wallet_amount"],
            points.UNIT: payment["points_amount"],
        }
        for unit, amount in parts.items():
            hold = holds.get((payment["id"], unit))
            seen = (hold["state"], hold["amount"]) if hold else None
            if _completed(payment):
                whole = ("COMMITTED", amount) if amount else None
                _same(payment, f"its hold in {unit}", whole, seen)
            elif seen is not None:
                _same(payment, f"its hold in {unit}", ("RELEASED", amount), seen)


def coupons_count_their_live_uses(slate: Slate) -> None:
    live = Counter(use["code"] for use in slate.uses if use["state"] != CouponUseState.RESTORED)
    differing = {
        row["code"]: (row["used"], live[row["code"]])
        for row in slate.coupons
        if row["used"] != live[row["code"]]
    }
    _none(differing, "(used, live uses) differ")
    states = {use["payment_id"]: use["state"] for use in slate.uses}
    for payment in slate.payments:
        state = states.get(payment["id"])
        if _completed(payment):
            used = CouponUseState.USED if payment["coupon_code"] else None
            _same(payment, "its coupon", used, state)
        elif state is not None:
            _same(payment, "its coupon", CouponUseState.RESTORED, state)


def coupons_are_applied_by_who_paid(slate: Slate) -> None:
    paid = {
        payment["payable_id"]: payment["id"]
        for payment in slate.payments
        if _completed(payment) and payment["coupon_code"]
    }
    differing = {
        order["id"]: (paid.get(order["id"]), order["coupon_applied_by"])
        for order in slate.orders
        if order["coupon_applied_by"] != paid.get(order["id"])
    }
    _none(differing, "(paid by, coupon applied by) differ")


def stock_is_what_its_reservations_say(slate: Slate) -> None:
    aside: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    for row in slate.reservations:
        if row["state"] in (ReservationState.RESERVED, ReservationState.NEEDS_REVIEW):
            aside[row["sku"]] += row["quantity"]
        if row["state"] == ReservationState.COMMITTED:
            gone[row["sku"]] += row["quantity"]
    for row in slate.stock:
        sku = row["sku"]
        if row["reserved"] != aside[sku]:
            raise Residue(f"{row['reserved']} of {sku} are reserved, by payments {aside[sku]}")
        put = slate.stocked.get(sku, row["on_hand"] + gone[sku])
        if row["on_hand"] != put - gone[sku]:
            raise Residue(f"of {put} {sku} {gone[sku]} are sold and {row['on_hand']} on hand")
    seen: defaultdict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
    for row in slate.reservations:
        seen[row["payment_id"]][row["sku"]] = (row["state"], row["quantity"])
    for payment in slate.payments:
        if _completed(payment):
            whole = {sku: (ReservationState.COMMITTED, n) for sku, n in payment["stock"]}
            _same(payment, "its stock", whole, seen[payment["id"]])


def points_are_redeemed_earned_and_taken_back_once(slate: Slate) -> None:
    for payment in slate.payments:
        done = _completed(payment)
        moved: Counter[tuple[str, str]] = Counter()
        for row in slate.postings:
            if row["payment_id"] == payment["id"] and row["unit"] == points.UNIT:
                moved[row["account"], row["kind"]] += row["amount"]
        redeemed = moved[points.REDEEMED, "redeem"]
        _same(payment, "points redeemed", payment["points_amount"] if done else 0, redeemed)
        is_order = payment["payable_type"] == PayableType.ORDER
        money = payment["wallet_amount"] + payment["card_amount"]
        due = points.earned(payment["currency"], money) if done and is_order else 0
        earned = (payment["points_earned"], -moved[points.ISSUED, "earn"])
        _same(payment, "points (in its row, issued)", (due, due), earned)
        back = moved[points.ISSUED, "take-back"]
        _same(payment, "points taken back", payment["points_taken_back"], back)


def the_gateways_book_is_the_ledger(slate: Slate) -> None:
    for payment in slate.payments:
        book = slate.books[payment["id"]].get(payment["currency"], {})
        seen = (book.get("captured", 0), book.get("refunded", 0))
        moved = [
            posting["amount"]
            for posting in slate.postings
            if posting["payment_id"] == payment["id"] and posting["account"].startswith("gateway:")
        ]
        taken = -sum(amount for amount in moved if amount < 0)
        given_back = sum(amount for amount in moved if amount > 0)
        _same(payment, "(captured, refunded) of the ledger and the PG", (taken, given_back), seen)
        others = set(slate.books[payment["id"]]) - {payment["currency"]}
        _none(others, f"are currencies that payment {payment['id']} was never in")


def payments_took_all_or_nothing(slate: Slate) -> None:
    for payment in slate.payments:
        book = slate.books[payment["id"]].get(payment["currency"], {})
        captured, refunded = book.get("captured", 0), book.get("refunded", 0)
        if _completed(payment):
            _same(payment, "its capture at the PG", payment["card_amount"], captured)
        else:
            _same(payment, "what the PG kept", 0, captured - refunded)
        income = _posted(slate, f"payment/{payment['id']}/capture", _income_of(slate, payment))
        amount = payment["wallet_amount"] + payment["card_amount"]
        _same(payment, "its income", amount if _completed(payment) else 0, income)


def suspense_is_empty(slate: Slate) -> None:
    kept = sum(row["amount"] for row in slate.postings if row["account"] == accounts.LATE_CAPTURES)
    _none({accounts.LATE_CAPTURES: kept} if kept else {}, "are still owed back")


def orders_agree_with_their_payments(slate: Slate) -> None:
    of_order: defaultdict[str, list[str]] = defaultdict(list)
    for payment in slate.payments:
        if payment["payable_type"] == PayableType.ORDER:
            of_order[payment["payable_id"]].append(payment["status"])
    for order in slate.orders:
        statuses = of_order[order["id"]]
        if statuses.count(PaymentStatus.COMPLETED) > 1:
            raise Residue(f"order {order['id']} was paid {statuses}")
        expected = OrderStatus.FAILED if statuses else OrderStatus.CREATED
        if PaymentStatus.COMPLETED in statuses:
            expected = OrderStatus.COMPLETED
        if order["status"] != expected:
            raise Residue(f"order {order['id']} is {order['status']}, its payments {statuses}")


def refunds_are_within_their_captures(slate: Slate) -> None:
    for payment in slate.payments:
        reserved, done = Counter[str](), 0
        for refund in slate.refunds:
            if refund["payment_id"] != payment["id"]:
                continue
            if refund["id"] == late_capture_refund_id(payment["id"]):
                continue
            if refund["status"] != RefundStatus.FAILED:
                reserved["card"] += refund["card_amount"]
                reserved["wallet"] += refund["wallet_amount"]
                reserved["points"] += refund["points_amount"]
            if refund["status"] == RefundStatus.COMPLETED:
                done += sum(refund[f"{part}_amount"] for part in ("card", "wallet", "points"))
        expected = (reserved["card"], reserved["wallet"], reserved["points"], done)
        seen = tuple(payment[f"{part}_refunded"] for part in ("card", "wallet", "points"))
        _same(payment, "what it refunded", expected, (*seen, payment["refunded_amount"]))
        if reserved["card"] > payment["card_amount"]:
            raise Residue(f"payment {payment['id']} refunds {reserved['card']} to its card")


def steps_agree_with_their_payments(slate: Slate) -> None:
    for payment in slate.payments:
        states = {
            row["step"]: row["state"] for row in slate.steps if row["saga_id"] == payment["id"]
        }
        done = _completed(payment)
        last = states.pop(PAYMENT_COMPLETE if done else PAYMENT_FAIL, None)
        _same(payment, "its last step", StepState.DONE, last)
        right = {StepState.DONE} if done else {StepState.UNDONE, StepState.REFUSED}
        left = {step: state for step, state in states.items() if state not in right}
        _none(left, f"are steps of payment {payment['id']}, which is {payment['status']}")


def every_step_is_told_as_it_stands(slate: Slate) -> None:
    """Who reads `billing.order.step` only knows the state of each step, and of each order."""
    told: dict[tuple[str, str], str] = {}
    orders: dict[str, str] = {}
    ended: set[str] = set()
    for event in sorted(_steps_told(slate), key=lambda event: event["aggregate_version"]):
        saga_id, step = event["data"]["sagaId"], event["data"]["step"]
        if saga_id in ended:
            raise Residue(f"{step} of {saga_id} was told after its end")
        if told.get((saga_id, step)) == event["data"]["outcome"]:
            raise Residue(f"{step} of {saga_id} was told twice as {told[saga_id, step]}")
        told[saga_id, step] = event["data"]["outcome"]
        orders[event["aggregate_id"]] = event["data"]["orderStatus"]
        if step in (PAYMENT_COMPLETE, PAYMENT_FAIL):
            ended.add(saga_id)
    of_orders = {row["id"] for row in slate.payments if row["payable_type"] == PayableType.ORDER}
    stand = {
        (row["saga_id"], row["step"]): row["state"]
        for row in slate.steps
        if row["saga_id"] in of_orders
    }
    differing = {key for key in {*told, *stand} if told.get(key) != stand.get(key)}
    _none(differing, "are told otherwise than they stand")
    for order in slate.orders:
        if orders.get(order["id"], OrderStatus.CREATED) != order["status"]:
            raise Residue(f"order {order['id']} is {order['status']}, {orders.get(order['id'])}")


def every_end_is_told_once(slate: Slate) -> None:
    told = Counter((event["aggregate_id"], event["topic"]) for event in slate.events)
    expected: Counter[tuple[str, str]] = Counter()
    for payment in slate.payments:
        done = _completed(payment)
        end = Topic.PAYMENT_COMPLETED if done else Topic.PAYMENT_FAILED
        expected[payment["id"], end] += 1
        if payment["payable_type"] == PayableType.ORDER:
            end = Topic.ORDER_COMPLETED if done else Topic.ORDER_FAILED
            expected[payment["payable_id"], end] += 1
    for refund in slate.refunds:
        if refund["status"] == RefundStatus.COMPLETED:
            expected[refund["payment_id"], Topic.REFUND_COMPLETED] += 1
    ends = {topic for _, topic in expected} | _ENDS
    differing = {
        key: (expected[key], told[key])
        for key in {*expected, *told}
        if key[1] in ends and expected[key] != told[key]
    }
    _none(differing, "(expected, told) differ")


def versions_have_no_gap(slate: Slate) -> None:
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for event in slate.events:
        versions[event["aggregate_id"]].append(event["aggregate_version"])
    gaps = {id_: seen for id_, seen in versions.items() if seen != list(range(1, len(seen) + 1))}
    _none(gaps, "are not 1, 2, 3 …")


INVARIANTS: tuple[Callable[[Slate], None], ...] = (
    every_transaction_balances,
    wallets_are_the_sum_of_their_postings,
    nothing_is_under_way,
    nothing_is_held,
    nobody_is_asked_any_more,
    no_authorization_is_left_open,
    every_attempt_has_an_outcome,
    holds_end_as_their_payments,
    coupons_count_their_live_uses,
    coupons_are_applied_by_who_paid,
    stock_is_what_its_reservations_say,
    points_are_redeemed_earned_and_taken_back_once,
    the_gateways_book_is_the_ledger,
    payments_took_all_or_nothing,
    suspense_is_empty,
    orders_agree_with_their_payments,
    refunds_are_within_their_captures,
    steps_agree_with_their_payments,
    every_step_is_told_as_it_stands,
    every_end_is_told_once,
    versions_have_no_gap,
)

_ENDS = {
    Topic.PAYMENT_COMPLETED,
    Topic.PAYMENT_FAILED,
    Topic.ORDER_COMPLETED,
    Topic.ORDER_FAILED,
    Topic.REFUND_COMPLETED,
}


async def _rows(tx: Transaction, query: Select[Any]) -> tuple[Row, ...]:
    return tuple(dict(row) for row in (await tx.execute(query)).mappings())


def _of_simulator(billing: Billing) -> Book:
    async def book(payment_id: str) -> Totals:
        totals: Totals = (await billing.book(payment_id))["totals"]
        return totals

    return book


def _ours(slate: Slate, rows: Iterable[Row]) -> list[Row]:
    ids = {payment["id"] for payment in slate.payments}
    return [row for row in rows if row["payment_id"] in ids]


def _steps_told(slate: Slate) -> list[Row]:
    return [event for event in slate.events if event["topic"] == Topic.ORDER_STEP]


def _completed(payment: Row) -> bool:
    return bool(payment["status"] == PaymentStatus.COMPLETED)


def _income_of(slate: Slate, payment: Row) -> str:
    is_order = payment["payable_type"] == PayableType.ORDER
    return accounts.SALES if is_order else accounts.available(slate.customer_id)


def _posted(slate: Slate, key: str, account: str) -> int:
    lines = (row for row in slate.postings if (row["key"], row["account"]) == (key, account))
    return sum(row["amount"] for row in lines)


def _same(payment: Row, what: str, expected: object, seen: object) -> None:
    if expected != seen:
        raise Residue(
            f"payment {payment['id']} is {payment['status']}: {what}: {expected} != {seen}"
        )


def _none(found: Iterable[object], what: str) -> None:
    if found:
        raise Residue(f"{found} {what}")
