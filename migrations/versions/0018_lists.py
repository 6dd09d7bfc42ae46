"""Every list is read page by page, the newest first, by an index that has its order; rows tell by
which transaction they were inserted, so that a page misses nothing that commits late."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

XID = "(pg_current_xact_id()::text)::bigint"
LISTED = (
    *("customers", "orders", "payments", "refunds", "wallets", "reviews", "gateway_webhooks"),
    *("coupons", "pricing_plans", "usage_events", "settlement_outcomes"),
)
BY_CREATION = {
    "customers": (),
    "orders": ("customer_id", "status"),
    "payments": ("customer_id", "status", "gateway"),
    "refunds": ("customer_id", "status"),
}
"""What is found by what, beside all of it."""
FINAL = sa.text("status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')")
OTHERS: dict[str, tuple[str, list[Any], str | None]] = {
    "ix_wallets_created_at": ("wallets", ["created_at", "customer_id", "currency"], None),
    "ix_wallets_currency_created_at": ("wallets", ["currency", "created_at", "customer_id"], None),
    "ix_reviews_opened_at_id": ("reviews", ["opened_at", "id"], None),
    "ix_reviews_waiting": ("reviews", ["opened_at", "id"], "closed_at IS NULL"),
    "ix_gateway_webhooks_received_at": (
        "gateway_webhooks",
        ["received_at", "gateway", "event_id"],
        None,
    ),
    "ix_gateway_webhooks_gateway_received_at": (
        "gateway_webhooks",
        ["gateway", "received_at", "event_id"],
        None,
    ),
    "ix_usage_events_customer_id_occurred_at_id": (
        "usage_events",
        ["customer_id", "occurred_at", "id"],
        None,
    ),
    "ix_usage_events_invoice_id_occurred_at_id": (
        "usage_events",
        ["invoice_id", "occurred_at", "id"],
        None,
    ),
    "ix_settlement_outcomes_status": (
        "settlement_outcomes",
        ["status", "period", "customer_id"],
        None,
    ),
    "ix_settlement_outcomes_customer_id": ("settlement_outcomes", ["customer_id", "period"], None),
    "ix_settlement_outcomes_invoice_id": ("settlement_outcomes", ["invoice_id"], None),
    "ix_invoices_cancelled": ("invoices", ["id"], "status = 'CANCELLED'"),
    "ix_payments_currency_money": (
        "payments",
        ["currency", sa.text("(wallet_amount + card_amount)")],
        None,
    ),
    "ix_gateway_attempts_gateway_reference": (
        "gateway_attempts",
        ["gateway_reference"],
        "gateway_reference IS NOT NULL",
    ),
}
REPLACED = (
    ("ix_payments_status", "payments"),
    ("ix_orders_customer_id", "orders"),
    ("ix_usage_events_invoice_id", "usage_events"),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in LISTED:
        # A constant first: rows that are there need not be written anew, and were committed before.
        op.add_column(
            table,
            sa.Column("created_xid", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        )
        op.alter_column(table, "created_xid", server_default=sa.text(XID))
    _wallets_since()
    for table, found_by in BY_CREATION.items():
        op.create_index(f"ix_{table}_created_at_id", table, ["created_at", "id"])
        for name in found_by:
            op.create_index(f"ix_{table}_{name}_created_at_id", table, [name, "created_at", "id"])
    for table in (*BY_CREATION, "gateway_webhooks", "usage_events"):
        op.create_index(f"ix_{table}_created_xid", table, ["created_xid"], postgresql_using="brin")
    for name, (table, columns, where) in OTHERS.items():
        op.create_index(
            name, table, columns, postgresql_where=None if where is None else sa.text(where)
        )
    for name, table in REPLACED:
        op.drop_index(name, table_name=table)
    # What a customer is billed for is shown to it, event by event.
    op.execute("GRANT SELECT ON usage_events TO billing_customer")


def _wallets_since() -> None:
    """Of one that is there, since its first posting."""
    op.add_column(
        "wallets",
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
    )
    op.execute("""
        UPDATE wallets SET created_at = first.at
        FROM (
            SELECT wallet.customer_id, wallet.currency, (
                SELECT entry.created_at FROM postings
                JOIN ledger_transactions entry ON entry.id = postings.transaction_id
                WHERE postings.account = 'wallet:' || wallet.customer_id || '\\:available'
                  AND postings.unit = wallet.currency
                ORDER BY postings.id LIMIT 1
            ) AS at
            FROM wallets wallet
        ) AS first
        WHERE first.customer_id = wallets.customer_id AND first.currency = wallets.currency
          AND first.at IS NOT NULL
    """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("REVOKE SELECT ON usage_events FROM billing_customer")
    op.create_index("ix_usage_events_invoice_id", "usage_events", ["invoice_id"])
    op.create_index("ix_orders_customer_id", "orders", ["customer_id"])
    op.create_index("ix_payments_status", "payments", ["status"], postgresql_where=FINAL)
    for name, (table, _, _) in OTHERS.items():
        op.drop_index(name, table_name=table)
    for table, found_by in BY_CREATION.items():
        op.drop_index(f"ix_{table}_created_at_id", table_name=table)
        for each in found_by:
            op.drop_index(f"ix_{table}_{each}_created_at_id", table_name=table)
    op.drop_column("wallets", "created_at")
    # Their indexes by it go with it.
    for table in LISTED:
        op.drop_column(table, "created_xid")
