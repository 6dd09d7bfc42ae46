"""Dead letters are one table, whatever they are about, and are replayed through the outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

XID = "(pg_current_xact_id()::text)::bigint"
CHANGED = (
    "state, state_reason, state_actor, state_at, job_id, failure_reason,"
    ' message_id, dlt_topic, original_topic, "partition", "offset", "timestamp", key,'
    " header_names, header_values"
)
"""Where it stands, and of a thing of our own why it failed last and where its own event is."""
JOB_CHANGES = (
    "source, reason, actor, snapshot, state, state_reason, total, started_at, watched_from,"
    " finished_at"
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _letters()
    _take_over_letters()
    _take_over_messages()
    _jobs()
    for column in (
        sa.Column("raw_key", sa.LargeBinary(), nullable=True),
        sa.Column("raw_header_names", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("raw_header_values", postgresql.ARRAY(sa.LargeBinary()), nullable=True),
        sa.Column("raw_value", sa.LargeBinary(), nullable=True),
    ):
        op.add_column("outbox", column)


def _letters() -> None:
    op.rename_table("dead_letters", "old_dead_letters")
    op.execute("ALTER INDEX pk_dead_letters RENAME TO pk_old_dead_letters")
    op.drop_index("ix_dead_letters_open", table_name="old_dead_letters")
    now = sa.text("now()")
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("created_xid", sa.BigInteger(), server_default=sa.text(XID), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("dlt_topic", sa.Text(), nullable=True),
        sa.Column("original_topic", sa.Text(), nullable=True),
        sa.Column("partition", sa.Integer(), nullable=True),
        sa.Column("offset", sa.BigInteger(), nullable=True),
        sa.Column("timestamp", sa.BigInteger(), nullable=True),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("header_names", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("header_values", postgresql.ARRAY(sa.LargeBinary()), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=False),
        sa.Column("failure_reason", sa.Text(), nullable=False),
        sa.Column("stacktrace", sa.Text(), nullable=True),
        sa.Column("consumer_group", sa.Text(), nullable=True),
        sa.Column("original_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("retry_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("replay_of", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("state", sa.Text(), server_default="OPEN", nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("state_actor", sa.Text(), nullable=True),
        sa.Column("state_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("job_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint("position", name=op.f("uq_dead_letters_position")),
        sa.UniqueConstraint("origin", name=op.f("uq_dead_letters_origin")),
        sa.ForeignKeyConstraint(
            ["replay_of"], ["dead_letters.id"], name=op.f("fk_dead_letters_replay_of_dead_letters")
        ),
        sa.CheckConstraint(
            "state IN ('OPEN', 'REPLAYING', 'REPLAYED', 'DISCARDED', 'RESOLVED')",
            name=op.f("ck_dead_letters_state"),
        ),
    )
    op.create_index(
        "uq_dead_letters_live",
        "dead_letters",
        ["reference"],
        unique=True,
        postgresql_where=sa.text("reference IS NOT NULL AND state IN ('OPEN', 'REPLAYING')"),
    )
    for name, columns, where in (
        ("open", ["position"], "state = 'OPEN'"),
        ("replaying", ["id"], "state = 'REPLAYING'"),
        ("message_id", ["message_id", "position"], None),
        ("customer_id", ["customer_id", "position"], None),
        ("occurred_at", ["occurred_at"], None),
        ("created_xid", ["created_xid"], None),
        ("replay_of", ["replay_of"], "replay_of IS NOT NULL"),
    ):
        op.create_index(
            f"ix_dead_letters_{name}",
            "dead_letters",
            columns,
            postgresql_where=None if where is None else sa.text(where),
        )
    op.execute("""
        CREATE TRIGGER final_stays BEFORE UPDATE ON dead_letters FOR EACH ROW
        WHEN (OLD.state IN ('REPLAYED', 'DISCARDED', 'RESOLVED') AND NEW.state <> OLD.state)
        EXECUTE FUNCTION refuse_reopening('state')
    """)
    op.execute("ALTER TABLE dead_letters ENABLE ALWAYS TRIGGER final_stays")
    op.execute("GRANT SELECT, INSERT ON dead_letters TO billing_app")
    op.execute(f"GRANT UPDATE ({CHANGED}) ON dead_letters TO billing_app")


def _take_over_letters() -> None:
    """All of them are about invoices that nobody pays; `id` was the invoice's, and stays."""
    op.execute("""
        INSERT INTO dead_letters (
            id, source, reference, header_names, header_values, payload, error_class,
            failure_reason, occurred_at, customer_id, state, state_at, created_at
        )
        SELECT
            id, 'INVOICE', reference, '{}', '{}', convert_to(body::text, 'UTF8'), 'UNCOLLECTIBLE',
            reason, created_at, body->>'customerId',
            CASE WHEN resolved_at IS NULL THEN 'OPEN' ELSE 'RESOLVED' END, resolved_at, created_at
        FROM old_dead_letters ORDER BY created_at, id
    """)
    op.drop_table("old_dead_letters")


def _take_over_messages() -> None:
    op.execute("""
        INSERT INTO dead_letters (
            id, source, origin, original_topic, "partition", "offset", "timestamp", key,
            header_names, header_values, payload, error_class, failure_reason, consumer_group,
            occurred_at, state, state_at, created_at
        )
        SELECT
            id, CASE
                WHEN topic LIKE 'billing.usage%' THEN 'USAGE'
                WHEN topic LIKE 'billing.order.%' THEN 'ORDER'
                ELSE 'OUTBOX'
            END,
            consumer || '|' || topic || ':' || "partition" || ':' || "offset" || '@' || "timestamp"
                || '#' || coalesce(encode(sha256(value), 'hex'), '-'),
            topic, "partition", "offset", "timestamp", key, header_names, header_values, value,
            error, reason, consumer, created_at,
            CASE WHEN resolved_at IS NULL THEN 'OPEN' ELSE 'RESOLVED' END, resolved_at, created_at
        FROM dead_messages ORDER BY created_at, id
    """)
    op.drop_table("dead_messages")


def _jobs() -> None:
    now = sa.text("now()")
    op.create_table(
        "dead_letter_jobs",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("wanted", postgresql.JSONB(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor", postgresql.JSONB(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("total", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("watched_from", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter_jobs")),
    )
    op.create_index(
        "uq_dead_letter_jobs_dry_run",
        "dead_letter_jobs",
        ["actor_id", "operation", "wanted"],
        unique=True,
        postgresql_where=sa.text("state = 'DRY_RUN'"),
    )
    op.create_index(
        "ix_dead_letter_jobs_under_way",
        "dead_letter_jobs",
        ["id"],
        postgresql_where=sa.text("state IN ('RUNNING', 'PAUSED')"),
    )
    op.create_table(
        "dead_letter_job_items",
        sa.Column("job_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("letter_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="PENDING", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "letter_id", name=op.f("pk_dead_letter_job_items")),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["dead_letter_jobs.id"],
            name=op.f("fk_dead_letter_job_items_job_id_dead_letter_jobs"),
        ),
        sa.ForeignKeyConstraint(
            ["letter_id"],
            ["dead_letters.id"],
            name=op.f("fk_dead_letter_job_items_letter_id_dead_letters"),
        ),
        sa.CheckConstraint(
            "state IN ('PENDING', 'DONE', 'FAILED')", name=op.f("ck_dead_letter_job_items_state")
        ),
    )
    op.create_index(
        "ix_dead_letter_job_items_pending",
        "dead_letter_job_items",
        ["job_id", "position"],
        postgresql_where=sa.text("state = 'PENDING'"),
    )
    op.execute("GRANT SELECT, INSERT ON dead_letter_jobs, dead_letter_job_items TO billing_app")
    op.execute(f"GRANT UPDATE ({JOB_CHANGES}) ON dead_letter_jobs TO billing_app")
    op.execute("GRANT UPDATE (state, error, done_at) ON dead_letter_job_items TO billing_app")


def downgrade() -> None:
    """What stands on a topic of dead letters is still there, and settlements have their rows: only
    what is nowhere else goes back into the two tables."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("dead_letter_job_items")
    op.drop_table("dead_letter_jobs")
    # Whatever was to be sent once more goes with the columns that say how.
    op.execute("DELETE FROM outbox WHERE raw_header_names IS NOT NULL")
    for name in ("raw_key", "raw_header_names", "raw_header_values", "raw_value"):
        op.drop_column("outbox", name)
    op.rename_table("dead_letters", "new_dead_letters")
    op.execute("ALTER INDEX pk_dead_letters RENAME TO pk_new_dead_letters")
    op.drop_index("ix_dead_letters_open", table_name="new_dead_letters")
    _old_tables()
    op.execute("""
        INSERT INTO dead_letters (id, kind, reference, reason, body, created_at, resolved_at)
        SELECT DISTINCT ON (reference)
            substring(reference FROM 9)::uuid, 'invoice', reference, failure_reason,
            convert_from(payload, 'UTF8')::jsonb, created_at,
            CASE WHEN state NOT IN ('OPEN', 'REPLAYING') THEN coalesce(state_at, created_at) END
        FROM new_dead_letters WHERE source = 'INVOICE' AND reference IS NOT NULL
        ORDER BY reference, position DESC
    """)
    op.execute("""
        INSERT INTO dead_messages (
            id, consumer, topic, "partition", "offset", "timestamp", key, header_names,
            header_values, value, error, reason, created_at, resolved_at
        )
        SELECT
            id, consumer_group, original_topic, "partition", "offset", "timestamp", key,
            header_names, header_values, payload, error_class, failure_reason, created_at,
            CASE WHEN state NOT IN ('OPEN', 'REPLAYING') THEN coalesce(state_at, created_at) END
        FROM new_dead_letters WHERE dlt_topic IS NULL AND original_topic IS NOT NULL
        ON CONFLICT DO NOTHING
    """)
    op.drop_table("new_dead_letters")


def _old_tables() -> None:
    now = sa.text("now()")
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_index(
        "ix_dead_letters_open",
        "dead_letters",
        ["created_at"],
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
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
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
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
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    for table, resolved in (("dead_letters", "resolved_at"), ("dead_messages", "resolved_at")):
        op.execute(f"GRANT SELECT, INSERT ON {table} TO billing_app")
        op.execute(f"GRANT UPDATE ({resolved}) ON {table} TO billing_app")
