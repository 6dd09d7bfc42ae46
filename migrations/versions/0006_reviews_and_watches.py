"""Waiting for a person, and watching, are rows; what is held is found by its state."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

HOLDING = {"wallet_holds": "HELD", "coupon_uses": "IN_USE", "stock_reservations": "RESERVED"}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _make_reviews()
    _make_watches()
    op.execute("GRANT SELECT, INSERT, UPDATE ON reviews, watches TO billing_app")
    _carry_over()
    for table, state in HOLDING.items():
        op.create_index(
            f"ix_{table}_{state.lower()}",
            table,
            ["payment_id"],
            unique=False,
            postgresql_where=sa.text(f"state = '{state}'"),
        )


def _make_reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("reference_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("payment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.id"], name=op.f("fk_reviews_payment_id_payments")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index(
        "uq_reviews_open",
        "reviews",
        ["reference_id"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index("ix_reviews_reference_id", "reviews", ["reference_id", "id"], unique=False)
    op.create_index("ix_reviews_payment_id", "reviews", ["payment_id"], unique=False)


def _make_watches() -> None:
    op.create_table(
        "watches",
        sa.Column("payment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "began_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.id"], name=op.f("fk_watches_payment_id_payments")
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_watches")),
    )
    op.create_index(
        "ix_watches_open",
        "watches",
        ["payment_id"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _carry_over() -> None:
    """What waits today, asked in the words that fit most of it."""
    op.execute("""
        INSERT INTO reviews (reference_id, payment_id, operation, question, reason, opened_at)
        SELECT id, id, CASE WHEN two_calls THEN 'capture' ELSE 'charge' END, 'capture',
               coalesce(review_reason, 'The gateway''s answers do not tell what happened.'),
               updated_at
        FROM payments WHERE status = 'NEEDS_REVIEW'
        UNION ALL
        SELECT id, payment_id, 'refund',
               CASE WHEN reason = 'LATE_CAPTURE' THEN 'late-capture-refund' ELSE 'refund' END,
               coalesce(review_reason, 'The gateway''s answers do not tell what happened.'),
               updated_at
        FROM refunds WHERE status = 'NEEDS_REVIEW'
    """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table, state in HOLDING.items():
        op.drop_index(f"ix_{table}_{state.lower()}", table_name=table)
    op.drop_table("watches")
    op.drop_table("reviews")
