"""What a restored database knows of the workflows that Temporal remembers."""

from collections.abc import Sequence

from sqlalchemy import text

from store.database import Transaction

_KNOWN = text("""
WITH asked AS (SELECT unnest(CAST(:ids AS text[])) AS id),
named AS (SELECT id, split_part(id, '/', 1) AS noun, split_part(id, '/', 2) AS name FROM asked)
SELECT n.id, p.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') AS is_open
    FROM named n JOIN payments p ON n.noun = 'payment' AND p.id::text = n.name
UNION ALL
SELECT n.id, r.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
    FROM named n JOIN refunds r ON n.noun = 'refund' AND r.id::text = n.name
UNION ALL
SELECT n.id, i.status IN ('ISSUED', 'OVERDUE', 'UNCOLLECTIBLE')
    FROM named n JOIN invoices i ON n.noun = 'invoice' AND i.id::text = n.name
UNION ALL
SELECT n.id, bool_or(s.is_open)
    FROM named n JOIN (
        SELECT customer_id, period, status = 'NOT_OVER' AS is_open FROM settlement_outcomes
        UNION ALL
        SELECT customer_id, period, status = 'AWAITING_APPROVAL' FROM invoices
    ) s ON n.noun = 'settlement' AND s.customer_id = n.name AND s.period = split_part(n.id, '/', 3)
    GROUP BY n.id
""")


async def known(tx: Transaction, workflow_ids: Sequence[str]) -> dict[str, bool]:
    """Of those that have a row, whether it is open."""
    rows = await tx.execute(_KNOWN, {"ids": list(workflow_ids)})
    return {row.id: row.is_open for row in rows}
