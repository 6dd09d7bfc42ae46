"""Many closed invoices, put in with SQL: what lists and receivables are read from.

10,000 customers with twenty months each, in three currencies. Each has a fee and what was missing
to its minimum, was told to everybody, and was written off within a hundred days of its
issue, one in twenty after 400: at any moment of those months 13,000 to 18,000 were unpaid.
"""

from datetime import timedelta

import orjson
from sqlalchemy import text

from domain.access import SYSTEM
from domain.period import Period
from domain.pricing import Plan
from domain.pricing_snapshot import Month, PricedLine, PricingSnapshot, price_invoice
from store.database import Database, Transaction

CUSTOMERS = 10_000
FIRST = Period(2024, 1)
MONTHS = 20
CURRENCIES = ("KRW", "USD", "EUR")
INVOICES = CUSTOMERS * MONTHS

_CUSTOMERS = text("""
INSERT INTO customers (id) SELECT 'reader-' || n FROM generate_series(0, :customers - 1) AS n
""")

_DRAFTS = text("""
INSERT INTO invoices (id, customer_id, period, currency, total, status, snapshot, workflow_id,
    run_id, created_at)
SELECT gen_random_uuid(), 'reader-' || n, :period, :currency, :total, 'DRAFT',
    CAST(:snapshot AS jsonb), 'settlement/reader-' || n || '/' || :period, gen_random_uuid()::text,
    CAST(:issued_at AS timestamptz) + n * interval '1 millisecond'
FROM generate_series(:first, :customers - 1, :step) AS n
""")

_LINES = text("""
INSERT INTO invoice_lines (invoice_id, position, kind, period, quantity, amount, steps)
SELECT i.id, position, kind, i.period, quantity, amount, steps
FROM invoices i CROSS JOIN jsonb_to_recordset(CAST(:lines AS jsonb))
    AS line (position int, kind text, quantity numeric, amount bigint, steps jsonb)
WHERE i.status = 'DRAFT'
""")

_CLOSED = text("""
UPDATE invoices i
SET number = given.number, status = 'WRITTEN_OFF', issued_at = i.created_at,
    due_at = i.created_at + interval '14 days', closed_at = i.created_at + interval '1 day'
        * CASE WHEN given.number % 20 = 0 THEN 400 ELSE given.number % 100 END
FROM (
    SELECT id, :before + row_number() OVER (ORDER BY created_at) AS number
    FROM invoices WHERE status = 'DRAFT'
) AS given
WHERE i.id = given.id
""")

_VERSIONS = text("""
INSERT INTO aggregate_versions (aggregate_id, version)
SELECT id, 2 FROM invoices WHERE number > :before
""")

_TOLD = text("""
INSERT INTO outbox (topic, event_id, aggregate_id, aggregate_version, customer_id, data,
    occurred_at, published_at)
SELECT topic, gen_random_uuid(), id, version, customer_id, jsonb_build_object('invoiceId', id),
    issued_at, issued_at
FROM invoices CROSS JOIN (
    VALUES ('billing.invoice.created', 1), ('billing.settlement.completed', 2)
) AS told (topic, version)
WHERE number > :before
""")

_COUNTED = text("""
INSERT INTO invoice_numbers (series, last, last_at)
SELECT 'invoice', max(number), max(issued_at) FROM invoices
""")


async def put(owner: Database) -> None:
    """Into a database that has no invoice yet."""
    async with owner.begin(SYSTEM) as tx:
        await tx.execute(_CUSTOMERS, {"customers": CUSTOMERS})
    period = FIRST
    for month in range(MONTHS):
        async with owner.begin(SYSTEM) as tx:
            await _month(tx, period, month * CUSTOMERS)
        period = period.next()
    async with owner.begin(SYSTEM) as tx:
        await tx.execute(_COUNTED)
    async with owner.statements(SYSTEM) as tx:
        # As it would have been done while a year went by.
        await tx.execute(text("VACUUM (ANALYZE) invoices, invoice_lines, outbox"))


async def _month(tx: Transaction, period: Period, before: int) -> None:
    for first, currency in enumerate(CURRENCIES):
        plan = Plan("fee", 1, currency, flat_fee=10_000, minimum=15_000)
        snapshot = PricingSnapshot(Month(period, plan), time_zone="UTC")
        priced = price_invoice(snapshot)
        lines = [_line(position, line) for position, line in enumerate(priced.lines, start=1)]
        customers = range(first, CUSTOMERS, len(CURRENCIES))
        issued_at = period.next().starts_at("UTC") + timedelta(minutes=first)
        row = {
            "before": before,
            "period": str(period),
            "currency": currency,
            "total": priced.total,
            "snapshot": orjson.dumps(snapshot.to_json()).decode(),
            "lines": orjson.dumps(lines).decode(),
            "first": first,
            "step": len(CURRENCIES),
            "customers": CUSTOMERS,
            "issued_at": issued_at,
        }
        for statement in (_DRAFTS, _LINES, _CLOSED, _VERSIONS, _TOLD):
            await tx.execute(statement, {name: row[name] for name in statement.compile().params})
        before += len(customers)


def _line(position: int, line: PricedLine) -> dict[str, object]:
    return {
        "position": position,
        "kind": line.kind,
        "quantity": str(line.quantity),
        "amount": line.amount,
        "steps": [step.to_json() for step in line.steps],
    }
