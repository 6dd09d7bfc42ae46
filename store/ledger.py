"""The append-only ledger. The database refuses UPDATE, DELETE and TRUNCATE, and any statement whose
postings do not sum to zero."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Row, Select, func, select

from domain.ledger import BookedPosting
from domain.ledger import Transaction as LedgerTransaction
from store import change
from store.change import Change
from store.database import Transaction
from store.tables import ledger_transactions, postings

_APPEND = """
entry AS (
    INSERT INTO ledger_transactions (key, kind, payment_id)
    SELECT * FROM unnest(
        CAST(:keys AS text[]), CAST(:kinds AS text[]), CAST(:payment_ids AS uuid[])
    )
    RETURNING id, key
), posted AS (
    INSERT INTO postings (transaction_id, account, unit, amount)
    SELECT entry.id, line.account, line.unit, line.amount
    FROM unnest(
        CAST(:posting_keys AS text[]), CAST(:accounts AS text[]),
        CAST(:units AS text[]), CAST(:amounts AS bigint[])
    ) WITH ORDINALITY AS line (key, account, unit, amount, place)
    JOIN entry USING (key)
    ORDER BY line.place
    RETURNING id
)"""

BOOKED: Select[Any] = select(
    postings.c.id,
    postings.c.account,
    postings.c.unit,
    postings.c.amount,
    ledger_transactions.c.key,
    ledger_transactions.c.kind,
    ledger_transactions.c.created_at,
).join_from(ledger_transactions, postings)
"""Postings with what their transaction says of them."""


async def append(tx: Transaction, *transactions: LedgerTransaction) -> None:
    """Append transactions; one whose key is there already raises `IntegrityError`."""
    await change.make(tx, appending(*transactions))


def appending(*transactions: LedgerTransaction) -> Change:
    """The same as a part of a statement."""
    lines = [(entry.key, posting) for entry in transactions for posting in entry.postings]
    values = {
        "keys": [entry.key for entry in transactions],
        "kinds": [entry.kind for entry in transactions],
        "payment_ids": [entry.payment_id for entry in transactions],
        "posting_keys": [key for key, _ in lines],
        "accounts": [posting.account for _, posting in lines],
        "units": [posting.unit for _, posting in lines],
        "amounts": [posting.amount for _, posting in lines],
    }
    return Change("posted", _APPEND, len(lines), values)


async def of_payment(tx: Transaction, payment_id: str) -> list[BookedPosting]:
    """Postings that belong to a payment or its refunds, in order."""
    query = BOOKED.where(ledger_transactions.c.payment_id == payment_id)
    return [booked(row) for row in await tx.execute(query.order_by(postings.c.id))]


async def balances(tx: Transaction) -> Mapping[tuple[str, str], int]:
    """The sum of every account and unit."""
    total = func.sum(postings.c.amount).cast(BigInteger)
    query = select(postings.c.account, postings.c.unit, total)
    rows = await tx.execute(query.group_by(postings.c.account, postings.c.unit))
    return {(account, unit): amount for account, unit, amount in rows}


def booked(row: Row[Any]) -> BookedPosting:
    """A row of `BOOKED`."""
    return BookedPosting(
        id=row.id,
        key=row.key,
        kind=row.kind,
        account=row.account,
        unit=row.unit,
        amount=row.amount,
        created_at=row.created_at,
    )
