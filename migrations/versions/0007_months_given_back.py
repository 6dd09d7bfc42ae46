"""A cancelled invoice gives its month and its usage back."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
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
            IF EXISTS (SELECT FROM invoices WHERE status = 'CANCELLED') THEN
                RAISE EXCEPTION 'invoices were cancelled: their usage would be billed twice';
            END IF;
        END $$
    """)
    _one_for_a_month("status <> 'REJECTED'")
