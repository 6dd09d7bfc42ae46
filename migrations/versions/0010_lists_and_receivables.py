"""Receivables are read from an index alone; what the sweeper looks for has an index that serves it.

That of open refunds named a status that no refund has: no query of refunds implied it.
"""

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
    _refunds("status NOT IN ('COMPLETED', 'FAILED')")
    op.create_index(
        "ix_invoices_receivables",
        "invoices",
        ["closed_at", "issued_at", "due_at"],
        unique=False,
        postgresql_include=["currency", "total"],
        postgresql_where=sa.text("issued_at IS NOT NULL"),
    )


def _refunds(open_: str) -> None:
    op.drop_index("ix_refunds_open", table_name="refunds")
    op.create_index(
        "ix_refunds_open", "refunds", ["id"], unique=False, postgresql_where=sa.text(open_)
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _refunds("status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')")
    for name in ("receivables", "drafts", "open"):
        op.drop_index(f"ix_invoices_{name}", table_name="invoices")
    op.create_index(
        "ix_invoices_unpaid", "invoices", ["due_at"], unique=False, postgresql_where=OPEN
    )
