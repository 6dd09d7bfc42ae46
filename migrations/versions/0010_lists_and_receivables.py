"""Receivables are read from an index alone; the sweeper's looks at invoices have one each."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

OPEN = sa.text("status IN ('ISSUED', 'OVERDUE', 'UNCOLLECTIBLE')")
DRAFTS = sa.text("status IN ('DRAFT', 'AWAITING_APPROVAL')")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_invoices_unpaid", table_name="invoices")
    op.create_index("ix_invoices_open", "invoices", ["id"], unique=False, postgresql_where=OPEN)
    op.create_index("ix_invoices_drafts", "invoices", ["id"], unique=False, postgresql_where=DRAFTS)
    op.create_index(
        "ix_invoices_receivables",
        "invoices",
        ["closed_at", "issued_at", "due_at"],
        unique=False,
        postgresql_include=["currency", "total"],
        postgresql_where=sa.text("issued_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in ("receivables", "drafts", "open"):
        op.drop_index(f"ix_invoices_{name}", table_name="invoices")
    op.create_index(
        "ix_invoices_unpaid", "invoices", ["due_at"], unique=False, postgresql_where=OPEN
    )
