"""A cancelled invoice gives its month and its usage back; dates of invoices rise with numbers."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _one_for_a_month("status NOT IN ('REJECTED', 'CANCELLED')")
    # What was cancelled before kept its usage, which nobody could bill any more.
    op.execute("""
        UPDATE usage_events SET invoice_id = NULL
        FROM invoices WHERE invoices.id = usage_events.invoice_id AND invoices.status = 'CANCELLED'
    """)
    op.create_index(
        "ix_settlement_outcomes_not_over",
        "settlement_outcomes",
        ["customer_id", "period"],
        unique=False,
        postgresql_where=sa.text("status = 'NOT_OVER'"),
    )
    op.add_column(
        "invoice_numbers", sa.Column("last_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.execute("""
        UPDATE invoice_numbers
        SET last_at = coalesce((SELECT max(issued_at) FROM invoices), '-infinity')
    """)
    op.alter_column("invoice_numbers", "last_at", nullable=False)


def _one_for_a_month(condition: str) -> None:
    op.drop_index("uq_invoices_customer_id_period", table_name="invoices")
    op.create_index(
        "uq_invoices_customer_id_period",
        "invoices",
        ["customer_id", "period"],
        unique=True,
        postgresql_where=sa.text(condition),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        DO $$ BEGIN
            IF EXISTS (SELECT FROM invoices WHERE status IN ('CANCELLED', 'SKIPPED')) THEN
                RAISE EXCEPTION 'months were given back or skipped, which was not known before';
            END IF;
        END $$
    """)
    op.drop_index(
        "ix_settlement_outcomes_not_over",
        table_name="settlement_outcomes",
        postgresql_where=sa.text("status = 'NOT_OVER'"),
    )
    op.drop_column("invoice_numbers", "last_at")
    _one_for_a_month("status <> 'REJECTED'")
