"""Who did what: entries that are added with what they tell of, and the chain that seals them.

One table, not one for each month: of a partitioned one no index could say that somebody looked at a
thing once in ten minutes, and the order in which entries are sealed is not that of their time.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = ("audit_entries", "audit_seals")
WRITTEN = (
    "actor_type, actor_id, ip, user_agent, trace_id, request_id, action, target_type, target_id,"
    " customer_id, before, after, reason, viewed_from"
)
"""What is said of an entry; its number, when, and by which transaction is not ours to say."""
SEALED = "n, from_id, last_xid, last_id, highest_id, count, hash"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _entries()
    _seals()
    op.execute("""
        CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the audit trail is append-only: % on % refused', TG_OP, TG_TABLE_NAME;
        END $$
    """)
    for table in TABLES:
        # A row trigger lets TRUNCATE pass, and replica sessions skip triggers that are not ALWAYS.
        op.execute(f"""
            CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()
        """)
        op.execute(f"""
            CREATE TRIGGER append_only_table BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
        """)
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_rows")
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_table")
        op.execute(f"GRANT SELECT ON {table} TO billing_app")
    op.execute(f"GRANT INSERT ({WRITTEN}) ON audit_entries TO billing_app")
    op.execute(f"GRANT INSERT ({SEALED}) ON audit_seals TO billing_app")


def _entries() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "created_xid",
            sa.BigInteger(),
            server_default=sa.text("(pg_current_xact_id()::text)::bigint"),
            nullable=False,
        ),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("actor_type", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target_type", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("before", postgresql.JSONB(), nullable=True),
        sa.Column("after", postgresql.JSONB(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("viewed_from", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    for columns in (
        ("created_xid", "id"),
        ("actor_id", "id"),
        ("action", "id"),
    ):
        op.create_index(f"ix_audit_entries_{'_'.join(columns)}", "audit_entries", list(columns))
    op.create_index("ix_audit_entries_at", "audit_entries", ["at"], postgresql_using="brin")
    op.create_index("ix_audit_entries_target", "audit_entries", ["target_id", "target_type", "id"])
    for name in ("customer_id", "trace_id"):
        op.create_index(
            f"ix_audit_entries_{name}_id",
            "audit_entries",
            [name, "id"],
            postgresql_where=sa.text(f"{name} IS NOT NULL"),
        )
    op.create_index(
        "uq_audit_entries_viewed",
        "audit_entries",
        ["actor_id", "target_type", "target_id", "viewed_from"],
        unique=True,
        postgresql_where=sa.text("viewed_from IS NOT NULL"),
    )


def _seals() -> None:
    op.create_table(
        "audit_seals",
        sa.Column("n", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("from_id", sa.BigInteger(), nullable=False),
        sa.Column("last_xid", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("highest_id", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "sealed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_audit_seals")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in TABLES:
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_audit_change")
