"""Rows by the million: copies of a payment, or of an invoice, that was really made.

Ids of copies lie before those that there are, as if they had been made earlier. The triggers are
switched off meanwhile: what they guard is true of the copies because it is true of what is copied.
"""

from collections.abc import Mapping

import asyncpg
from sqlalchemy import Column, Table, Uuid

from store.tables import (
    aggregate_versions,
    aggregated_usage,
    gateway_attempts,
    idempotency_keys,
    invoice_lines,
    invoices,
    ledger_transactions,
    orders,
    outbox,
    payments,
    postings,
    saga_steps,
)

STRIDE = 10_000_000
"""More than there are ids of anything that is really made."""
CUSTOMERS = 1_000
"""The copies are theirs, one after the other."""

_BOTH = "IN (SELECT unnest(ARRAY[id, payable_id]) FROM payments WHERE id = $1)"
_OF_PAYMENT = {
    orders: f"id {_BOTH}",
    payments: "id = $1",
    ledger_transactions: "payment_id = $1",
    postings: "transaction_id IN (SELECT id FROM ledger_transactions WHERE payment_id = $1)",
    gateway_attempts: "payment_id = $1",
    saga_steps: "saga_id = $1",
    idempotency_keys: f"resource_id {_BOTH}",
    outbox: f"aggregate_id {_BOTH}",
    aggregate_versions: f"aggregate_id {_BOTH}",
}
_OF_INVOICE = {
    invoices: "id = $1",
    invoice_lines: "invoice_id = $1",
    aggregated_usage: "invoice_id = $1",
}


async def of_payments(superuser_url: str, payment_id: str, first: int, last: int) -> None:
    """So many payments of orders like this one, those with these numbers."""
    await _copy(superuser_url, _OF_PAYMENT, payment_id, first, last, {})


async def of_invoices(
    superuser_url: str, invoice_id: str, first: int, last: int, status: str
) -> None:
    """So many invoices like this one, in this status; they were never settled by a workflow."""
    await _copy(superuser_url, _OF_INVOICE, invoice_id, first, last, {"status": f"'{status}'"})


async def _copy(
    superuser_url: str,
    parts: Mapping[Table, str],
    id_: str,
    first: int,
    last: int,
    other: Mapping[str, str],
) -> None:
    connection = await asyncpg.connect(superuser_url)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(_statement(parts, other), id_, first, last)
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _statement(parts: Mapping[Table, str], other: Mapping[str, str]) -> str:
    """One for all tables: some triggers of the ledger cannot be switched off so, and see to it that
    what belongs together comes together."""
    inserts = ", ".join(
        f"of_{table.name} AS ({_insert(table, condition, other)})"
        for table, condition in parts.items()
    )
    return f"WITH {inserts} SELECT"


def _insert(table: Table, condition: str, other: Mapping[str, str]) -> str:
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    values = ", ".join(other.get(column.name) or _value(column) for column in table.columns)
    return (
        f"INSERT INTO {table.name} ({names}) OVERRIDING SYSTEM VALUE SELECT {values}"  # noqa: S608
        f" FROM (SELECT * FROM {table.name} WHERE {condition}) AS made,"
        " generate_series($2::int, $3::int) AS copy (nth)"
    )


def _value(column: Column[object]) -> str:
    name = f'"{column.name}"'
    if isinstance(column.type, Uuid):
        return f"md5({name}::text || nth)::uuid"
    return _OF_COPY.get(column.name, "{}").format(name)


_OF_COPY = {
    **dict.fromkeys(("id", "transaction_id", "number"), f"{{}} - nth * {STRIDE}::bigint"),
    **dict.fromkeys(("customer_id", "caller"), f"{{}} || '-' || nth % {CUSTOMERS}"),
    "key": "{} || '/' || nth",
    "period": f"to_char(date '2000-01-01' + interval '1 month' * (nth / {CUSTOMERS}), 'YYYY-MM')",
    "created_xid": "(pg_current_xact_id()::text)::bigint",
    "created_at": "{} - interval '1 minute' * nth",
}
"""What tells one copy from another, by the names of columns."""
