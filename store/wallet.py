"""Wallets: one row per customer × currency, changed by conditional updates only.

Every change of a row stands beside its postings in the same transaction.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from domain import ledger as accounts
from domain.ledger import Transaction as LedgerTransaction
from domain.ledger import transfer
from domain.payment import PaymentRequest
from store import ledger
from store.database import Transaction
from store.tables import ledger_transactions, postings, wallet_holds, wallets

_HOLD = text("""
WITH moved AS (
    UPDATE wallets SET available = available - :amount, held = held + :amount
    WHERE customer_id = :customer_id AND currency = :currency AND available >= :amount
      AND NOT EXISTS (SELECT FROM wallet_holds WHERE payment_id = CAST(:payment_id AS uuid))
    RETURNING customer_id
)
INSERT INTO wallet_holds (payment_id, customer_id, currency, amount, state)
SELECT CAST(:payment_id AS uuid), customer_id, :currency, :amount, 'HELD' FROM moved
RETURNING payment_id
""")


async def credit(tx: Transaction, customer_id: str, currency: str, amount: int) -> None:
    """Add to what is available, making the wallet if need be. The caller appends the postings."""
    row = insert(wallets).values(customer_id=customer_id, currency=currency, available=amount)
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["customer_id", "currency"],
            set_={"available": wallets.c.available + row.excluded.available},
        )
    )


async def hold(tx: Transaction, payment: PaymentRequest) -> bool:
    """Set the wallet part aside; False when the hold exists or the wallet has too little.

    Two concurrent holds of one payment cannot both move money: the second insert violates the
    primary key, which rolls its whole statement back.
    """
    moved = await tx.execute(
        _HOLD,
        {
            "payment_id": payment.payment_id,
            "customer_id": payment.customer_id,
            "currency": payment.currency,
            "amount": payment.wallet_amount,
        },
    )
    if moved.first() is None:
        return False
    await ledger.append(
        tx,
        LedgerTransaction(
            key=f"payment/{payment.payment_id}/hold",
            kind="hold",
            postings=transfer(
                accounts.available(payment.customer_id),
                accounts.held(payment.customer_id),
                payment.currency,
                payment.wallet_amount,
            ),
            payment_id=payment.payment_id,
        ),
    )
    return True


async def hold_state(tx: Transaction, payment_id: str) -> str | None:
    """HELD, COMMITTED, RELEASED, or None when there is no hold."""
    query = select(wallet_holds.c.state).where(wallet_holds.c.payment_id == payment_id)
    return (await tx.execute(query)).scalar()


async def release(tx: Transaction, payment: PaymentRequest) -> bool:
    """Give a hold back; True when money moved. Without a hold a tombstone is left, so that a late
    `hold` does nothing."""
    tombstone = insert(wallet_holds).values(
        payment_id=payment.payment_id,
        customer_id=payment.customer_id,
        currency=payment.currency,
        amount=payment.wallet_amount,
        state="RELEASED",
    )
    await tx.execute(tombstone.on_conflict_do_nothing())
    if not await _end_hold(tx, payment.payment_id, "RELEASED"):
        return False
    await tx.execute(
        update(wallets)
        .where(wallets.c.customer_id == payment.customer_id, wallets.c.currency == payment.currency)
        .values(
            held=wallets.c.held - payment.wallet_amount,
            available=wallets.c.available + payment.wallet_amount,
        )
    )
    await ledger.append(
        tx,
        LedgerTransaction(
            key=f"payment/{payment.payment_id}/release",
            kind="release",
            postings=transfer(
                accounts.held(payment.customer_id),
                accounts.available(payment.customer_id),
                payment.currency,
                payment.wallet_amount,
            ),
            payment_id=payment.payment_id,
        ),
    )
    return True


async def commit_hold(tx: Transaction, payment: PaymentRequest) -> None:
    """The held amount leaves the wallet. The caller appends the postings of the capture."""
    if not await _end_hold(tx, payment.payment_id, "COMMITTED"):
        raise RuntimeError(f"payment {payment.payment_id} completes without its wallet hold")
    await tx.execute(
        update(wallets)
        .where(wallets.c.customer_id == payment.customer_id, wallets.c.currency == payment.currency)
        .values(held=wallets.c.held - payment.wallet_amount)
    )


async def _end_hold(tx: Transaction, payment_id: str, state: str) -> bool:
    ended = await tx.execute(
        update(wallet_holds)
        .where(wallet_holds.c.payment_id == payment_id, wallet_holds.c.state == "HELD")
        .values(state=state)
    )
    return ended.rowcount == 1


async def balances(tx: Transaction, customer_id: str) -> Sequence[Row[Any]]:
    """One row per currency."""
    return (
        await tx.execute(
            select(wallets).where(wallets.c.customer_id == customer_id).order_by("currency")
        )
    ).all()


async def transactions(
    tx: Transaction, customer_id: str, before: int | None, limit: int
) -> Sequence[Row[Any]]:
    """The wallet's postings, newest first, below posting id `before`."""
    wallet = [accounts.available(customer_id), accounts.held(customer_id)]
    query = (
        select(postings, ledger_transactions.c.key, ledger_transactions.c.kind)
        .add_columns(ledger_transactions.c.created_at)
        .join_from(postings, ledger_transactions)
        .where(postings.c.account == func.any(wallet))
        .order_by(postings.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(postings.c.id < before)
    return (await tx.execute(query)).all()
