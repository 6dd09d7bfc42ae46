"""Wallets: one row per customer × currency (or points), changed by conditional updates only.

Every change of a row stands beside its postings in the same transaction.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    case,
    func,
    literal,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from domain import ledger as accounts
from domain import points
from domain.errors import HoldReleased
from domain.ledger import BookedPosting
from domain.payment import FINAL, PayableType
from domain.refund import FINAL as REFUND_FINAL
from domain.wallet import Balance, Hold, HoldState, Wanted
from store import ledger
from store.change import Change
from store.database import Transaction
from store.page import Order, Page, Place, cut, matching, page, within
from store.seen import unseen
from store.tables import (
    ledger_transactions,
    payments,
    postings,
    refunds,
    wallet_holds,
    wallets,
)

_LISTED = Order(
    (wallets.c.created_at, wallets.c.customer_id, wallets.c.currency), wallets.c.created_xid
)
_HOLD = text("""
WITH moved AS (
    UPDATE wallets SET available = available - :amount, held = held + :amount
    WHERE customer_id = :customer_id AND currency = :currency AND available >= :amount
      AND NOT EXISTS (
        SELECT FROM wallet_holds
        WHERE payment_id = CAST(:payment_id AS uuid) AND currency = :currency
      )
    RETURNING customer_id
)
INSERT INTO wallet_holds (payment_id, customer_id, currency, amount, state)
SELECT CAST(:payment_id AS uuid), customer_id, :currency, :amount, 'HELD' FROM moved
RETURNING payment_id
""")


_CREDIT = """
credited AS (
    INSERT INTO wallets (customer_id, currency, available)
    VALUES (:customer_id, :credited_unit, :credited_amount)
    ON CONFLICT (customer_id, currency)
    DO UPDATE SET available = wallets.available + excluded.available
    RETURNING currency
)"""
_SET_ASIDE = """
{0}_moved AS (
    UPDATE wallets SET available = available - :{0}_amount, held = held + :{0}_amount
    WHERE customer_id = :customer_id AND currency = :{0}_unit AND available >= :{0}_amount
    RETURNING currency
), {0}_held AS (
    INSERT INTO wallet_holds (payment_id, customer_id, currency, amount, state)
    SELECT CAST(:payment_id AS uuid), :customer_id, currency, :{0}_amount, 'HELD' FROM {0}_moved
    RETURNING currency
)"""
_TAKE = """
{0}_hold AS (
    UPDATE wallet_holds SET state = 'COMMITTED'
    WHERE payment_id = CAST(:payment_id AS uuid) AND currency = :{0}_unit AND state = 'HELD'
    RETURNING amount
), {0}_taken AS (
    UPDATE wallets SET held = held - {0}_hold.amount, available = available + :{0}_earned
    FROM {0}_hold WHERE customer_id = :customer_id AND currency = :{0}_unit
    RETURNING currency
)"""


async def credit(tx: Transaction, customer_id: str, currency: str, amount: int) -> None:
    """Add to what is available, making the wallet if need be. The caller appends the postings."""
    row = insert(wallets).values(customer_id=customer_id, currency=currency, available=amount)
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["customer_id", "currency"],
            set_={"available": wallets.c.available + row.excluded.available},
        )
    )


def crediting(customer_id: str, currency: str, amount: int) -> Change:
    """The same as a part of a statement."""
    values = {"customer_id": customer_id, "credited_unit": currency, "credited_amount": amount}
    return Change("credited", _CREDIT, 1, values)


async def hold(tx: Transaction, wanted: Hold) -> bool:
    """Set an amount aside; False when the hold exists or the wallet has too little.

    Two concurrent holds of one payment cannot both move money: the second insert violates the
    primary key, which rolls its whole statement back.
    """
    moved = await tx.execute(
        _HOLD,
        {
            "payment_id": wanted.payment_id,
            "customer_id": wanted.customer_id,
            "currency": wanted.unit,
            "amount": wanted.amount,
        },
    )
    if moved.first() is None:
        return False
    await ledger.append(tx, wanted.taken())
    return True


def holding(wanted: Hold) -> Change:
    """The same as a part of a statement. The caller appends the postings."""
    name = _part(wanted)
    values = {
        "payment_id": wanted.payment_id,
        "customer_id": wanted.customer_id,
        f"{name}_unit": wanted.unit,
        f"{name}_amount": wanted.amount,
    }
    return Change(f"{name}_held", _SET_ASIDE.format(name), 1, values)


async def hold_state(tx: Transaction, wanted: Hold) -> HoldState | None:
    """None when there is no hold."""
    state = (await tx.execute(select(wallet_holds.c.state).where(_is(wanted)))).scalar()
    return None if state is None else HoldState(state)


async def release(tx: Transaction, wanted: Hold) -> bool:
    """Give a hold back; True when something moved. Without a hold a tombstone is left, so that a
    late `hold` does nothing."""
    tombstone = insert(wallet_holds).values(
        payment_id=wanted.payment_id,
        customer_id=wanted.customer_id,
        currency=wanted.unit,
        amount=wanted.amount,
        state=HoldState.RELEASED,
    )
    await tx.execute(tombstone.on_conflict_do_nothing())
    if not await _end_hold(tx, wanted, HoldState.RELEASED):
        return False
    await _change(tx, wanted, available=wanted.amount)
    await ledger.append(tx, wanted.released())
    return True


async def commit_hold(tx: Transaction, wanted: Hold) -> None:
    """The held amount leaves the wallet. The caller appends the postings of where it goes. Raises
    `HoldReleased` where an earlier run gave it back."""
    if not await _end_hold(tx, wanted, HoldState.COMMITTED):
        if await hold_state(tx, wanted) is HoldState.RELEASED:
            raise HoldReleased("An earlier run of this payment gave its hold back.")
        raise RuntimeError(f"payment {wanted.payment_id} completes without its hold")
    await _change(tx, wanted, available=0)


def committing_hold(wanted: Hold, earned: int = 0) -> Change:
    """The same as a part of a statement, which credits what is earned in its unit too: it can
    change a row only once."""
    name = _part(wanted)
    values = {
        "payment_id": wanted.payment_id,
        "customer_id": wanted.customer_id,
        f"{name}_unit": wanted.unit,
        f"{name}_earned": earned,
    }
    return Change(f"{name}_taken", _TAKE.format(name), 1, values)


def _part(wanted: Hold) -> str:
    """What tells the two holds of a payment apart within a statement."""
    return "points" if wanted.unit == points.UNIT else "money"


async def take(tx: Transaction, customer_id: str, currency: str, most: int) -> int:
    """Take `most` or what is available; returns how much. The caller appends the postings."""
    whose = and_(wallets.c.customer_id == customer_id, wallets.c.currency == currency)
    locked = await tx.execute(select(wallets.c.available).where(whose).with_for_update())
    taken = min(locked.scalar() or 0, most)
    if taken:
        changed = update(wallets).where(whose)
        await tx.execute(changed.values(available=wallets.c.available - taken))
    return taken


async def _change(tx: Transaction, wanted: Hold, available: int) -> None:
    await tx.execute(
        update(wallets)
        .where(wallets.c.customer_id == wanted.customer_id, wallets.c.currency == wanted.unit)
        .values(held=wallets.c.held - wanted.amount, available=wallets.c.available + available)
    )


async def _end_hold(tx: Transaction, wanted: Hold, state: HoldState) -> bool:
    ended = await tx.execute(
        update(wallet_holds)
        .where(_is(wanted), wallet_holds.c.state == HoldState.HELD)
        .values(state=state)
    )
    return ended.rowcount == 1


def _is(wanted: Hold) -> ColumnElement[bool]:
    return and_(
        wallet_holds.c.payment_id == wanted.payment_id, wallet_holds.c.currency == wanted.unit
    )


async def balances(tx: Transaction, customer_id: str) -> list[Balance]:
    """One per currency."""
    query = select(wallets).where(wallets.c.customer_id == customer_id).order_by("currency")
    return [_balance(row) for row in await tx.execute(query)]


async def listed(tx: Transaction, wanted: Wanted, place: Place | None, limit: int) -> Page[Balance]:
    """The wallet that was made last first, below a place."""
    columns = wallets.c
    query = select(wallets).where(
        *matching({columns.customer_id: wanted.customer_id, columns.currency: wanted.unit}),
        *within(columns.created_at, wanted.since, wanted.until),
    )
    return await page(tx, query, _LISTED, place, limit, _balance)


def _balance(row: Row[Any]) -> Balance:
    return Balance(row.customer_id, row.currency, row.available, row.held, row.created_at)


async def available(tx: Transaction, customer_id: str, currency: str) -> int:
    """What can be spent; 0 without a wallet."""
    query = select(wallets.c.available).where(
        wallets.c.customer_id == customer_id, wallets.c.currency == currency
    )
    return (await tx.execute(query)).scalar() or 0


async def expected(tx: Transaction, customer_id: str, unit: str) -> int:
    """What the wallet will hold once everything has arrived that is on its way into it: top-ups and
    refunds that have not ended. One statement: what arrives meanwhile is counted once."""
    there = select(wallets.c.available + wallets.c.held).where(
        wallets.c.customer_id == customer_id, wallets.c.currency == unit
    )
    topped_up = select(func.sum(payments.c.card_amount)).where(
        payments.c.customer_id == customer_id,
        payments.c.currency == unit,
        payments.c.payable_type == PayableType.TOP_UP,
        payments.c.status.not_in(FINAL),
    )
    given_back = case(
        (literal(unit) == points.UNIT, refunds.c.points_amount),
        (refunds.c.currency == unit, refunds.c.wallet_amount),
        else_=0,
    )
    refunded = select(func.sum(given_back)).where(
        refunds.c.customer_id == customer_id,
        refunds.c.status.not_in(REFUND_FINAL),
    )
    parts = [func.coalesce(each.scalar_subquery(), 0) for each in (there, topped_up, refunded)]
    return int((await tx.execute(select(parts[0] + parts[1] + parts[2]))).scalar_one())


async def transactions(
    tx: Transaction, customer_id: str, place: Place | None, limit: int
) -> Page[BookedPosting]:
    """The wallet's postings below a place, newest first. Not by `page`: of both accounts together
    no index gives the newest, so each is asked from its own end."""
    late: Sequence[Row[Any]] = ()
    newest = ledger.BOOKED.order_by(postings.c.id.desc()).limit(limit + 1)
    if place is not None:
        late = list(await tx.execute(_came_late(customer_id, place), place.seen._asdict()))
        newest = newest.where(postings.c.id < place.last[0])
    each = [newest.where(postings.c.account == account) for account in _wallet(customer_id)]
    both = union_all(*(select(query.subquery()) for query in each)).subquery()
    found = await tx.execute(select(both).order_by(both.c.id.desc()).limit(limit + 1))
    return await cut(tx, late, list(found), place, limit, lambda row: (row.id,), ledger.booked)


def _came_late(customer_id: str, place: Place) -> Select[Any]:
    """Those above a place that could not be seen when it was reached."""
    passed = postings.c.id.between(place.last[0], place.newest[0])
    late = unseen(ledger_transactions.c.created_xid)
    mine = postings.c.account == func.any(_wallet(customer_id))
    return ledger.BOOKED.where(mine, passed, late).order_by(postings.c.id.desc())


def _wallet(customer_id: str) -> list[str]:
    return [accounts.available(customer_id), accounts.held(customer_id)]
