"""What a consumer or the broker cannot take is set aside; one relay publishes all events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "dead_messages",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("header_names", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("header_values", postgresql.ARRAY(sa.LargeBinary()), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_messages")),
        sa.UniqueConstraint(
            "consumer",
            "topic",
            "partition",
            "offset",
            "timestamp",
            name=op.f("uq_dead_messages_consumer_topic_partition_offset_timestamp"),
        ),
    )
    op.create_index(
        "ix_dead_messages_open",
        "dead_messages",
        ["consumer"],
        unique=False,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON dead_messages TO billing_app")
    op.drop_index("ix_outbox_unpublished", table_name="outbox")
    op.drop_column("outbox", "shard")
    op.add_column("outbox", sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("outbox", sa.Column("refusal", sa.Text(), nullable=True))
    op.create_index(
        "ix_outbox_unpublished",
        "outbox",
        ["id"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL AND refused_at IS NULL"),
    )
    op.create_index(
        "ix_outbox_refused",
        "outbox",
        ["topic", "aggregate_id", "id"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL AND refused_at IS NOT NULL"),
    )
    _count_by(sa.text("status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"), undone_by="at")


def _count_by(payments: sa.TextClause | None, undone_by: str) -> None:
    """What a scrape of the metrics counts."""
    op.drop_index("ix_payments_status", table_name="payments")
    op.create_index(
        "ix_payments_status",
        "payments",
        ["status"],
        unique=False,
        postgresql_where=payments,
    )
    op.drop_index("ix_saga_steps_undone", table_name="saga_steps")
    op.create_index(
        "ix_saga_steps_undone",
        "saga_steps",
        [undone_by],
        unique=False,
        postgresql_where=sa.text("state = 'UNDONE'"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _count_by(None, undone_by="saga_id")
    op.drop_index("ix_outbox_refused", table_name="outbox")
    op.drop_index("ix_outbox_unpublished", table_name="outbox")
    op.drop_column("outbox", "refusal")
    op.drop_column("outbox", "refused_at")
    op.add_column("outbox", sa.Column("shard", sa.SmallInteger(), nullable=True))
    # The two lowest bits of the aggregate's id.
    op.execute("""
        UPDATE outbox SET shard = get_byte(uuid_send(aggregate_id), 15) % 4
    """)
    op.alter_column("outbox", "shard", nullable=False)
    op.create_index(
        "ix_outbox_unpublished",
        "outbox",
        ["shard", "id"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.drop_table("dead_messages")
