"""A payment's own row says that its capture is owed back: whoever completes it looks there."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "payments",
        sa.Column("given_back", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.execute("GRANT UPDATE (given_back) ON payments TO billing_app")
    op.execute("""
        UPDATE payments SET given_back = true
        FROM ledger_transactions AS entry
        WHERE entry.payment_id = payments.id AND entry.kind = 'late-capture'
    """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("payments", "given_back")
