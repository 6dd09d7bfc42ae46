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
from domain.event import Topic
from domain.order import OrderStatus
from domain.payment import FINAL, PayableType, PaymentStatus
from domain.refund import FINAL as FINAL_REFUND
from domain.refund import RefundStatus, late_capture_refund_id
from store.database import Transaction
from store.tables import (
    ledger_transactions,
    orders,
    outbox,
    payments,
    postings,
    refunds,
    saga_steps,
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
    """Every posting of each ledger transaction that touches the customer, with its `key`."""
    events: tuple[Row, ...]
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
    async with billing.database.connect() as connection:
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
                select(postings, ledger_transactions.c.key, ledger_transactions.c.payment_id)
                .join_from(postings, ledger_transactions)
                .where(postings.c.transaction_id.in_(touching)),
            ),
            events=await _rows(
                tx,
                select(outbox).where(outbox.c.customer_id == customer_id).order_by(outbox.c.id),
            ),
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


def holds_end_as_their_payments(slate: Slate) -> None:
    holds = {hold["payment_id"]: hold for hold in slate.holds}
    for payment in slate.payments:
        hold = holds.get(payment["id"])
        seen = (hold["state"], hold["amount"]) if hold else None
        whole = ("COMMITTED", payment["wallet_amount"])
        if _completed(payment):
            _same(payment, "its hold", whole if payment["wallet_amount"] else None, seen)
        elif seen is not None:
            _same(payment, "its hold", ("RELEASED", payment["wallet_amount"]), seen)


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
            if refund["status"] == RefundStatus.COMPLETED:
                done += refund["card_amount"] + refund["wallet_amount"]
        expected = (reserved["card"], reserved["wallet"], done)
        seen = tuple(payment[f"{part}refunded"] for part in ("card_", "wallet_"))
        _same(payment, "what it refunded", expected, (*seen, payment["refunded_amount"]))
        if reserved["card"] > payment["card_amount"]:
            raise Residue(f"payment {payment['id']} refunds {reserved['card']} to its card")


def steps_agree_with_their_payments(slate: Slate) -> None:
    for payment in slate.payments:
        states = {
            row["step"]: row["state"] for row in slate.steps if row["saga_id"] == payment["id"]
        }
        wrong = "UNDONE" if _completed(payment) else "DONE"
        left = {step: state for step, state in states.items() if state == wrong}
        _none(left, f"are steps of payment {payment['id']}, which is {payment['status']}")


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
    holds_end_as_their_payments,
    the_gateways_book_is_the_ledger,
    payments_took_all_or_nothing,
    suspense_is_empty,
    orders_agree_with_their_payments,
    refunds_are_within_their_captures,
    steps_agree_with_their_payments,
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
