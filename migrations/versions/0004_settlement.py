"""Usage, price lists, invoices and settlements."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INSERT_ONLY = ("pricing_plans", "usage_identities")
STATE = (
    "dead_letters",
    "invoice_numbers",
    "invoices",
    "settlement_outcomes",
    "settlement_runs",
    "usage_events",
)


def upgrade() -> None:
    # A migration that cannot get its locks soon must not queue the whole traffic behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "aggregated_usage",
        sa.Column("invoice_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=30, scale=6), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "invoice_id", "resource_type", "period", name=op.f("pk_aggregated_usage")
        ),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_index(
        "ix_dead_letters_open",
        "dead_letters",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_table(
        "invoice_numbers",
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("series", name=op.f("pk_invoice_numbers")),
    )
    op.create_table(
        "invoices",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("snapshot", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "checks",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "decisions",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("retries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("total >= 0", name=op.f("ck_invoices_total")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("number", name=op.f("uq_invoices_number")),
    )
    op.create_index("ix_invoices_created_at_id", "invoices", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_invoices_customer_id_created_at_id",
        "invoices",
        ["customer_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_invoices_unpaid",
        "invoices",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('ISSUED', 'OVERDUE')"),
    )
    op.create_index(
        "uq_invoices_customer_id_period",
        "invoices",
        ["customer_id", "period"],
        unique=True,
        postgresql_where=sa.text("status <> 'REJECTED'"),
    )
    op.create_table(
        "pricing_plans",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("code", "version", name=op.f("pk_pricing_plans")),
    )
    op.create_table(
        "settlement_outcomes",
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("invoice_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("period", "customer_id", name=op.f("pk_settlement_outcomes")),
    )
    op.create_index(
        "ix_settlement_outcomes_period_status",
        "settlement_outcomes",
        ["period", "status"],
        unique=False,
    )
    op.create_table(
        "settlement_runs",
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("period", name=op.f("pk_settlement_runs")),
    )
    op.create_table(
        "usage_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=24, scale=6), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("invoice_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.CheckConstraint("quantity >= 0", name=op.f("ck_usage_events_quantity")),
        sa.PrimaryKeyConstraint("id", "occurred_at", name=op.f("pk_usage_events")),
        postgresql_partition_by="RANGE (occurred_at)",
    )
    op.create_index("ix_usage_events_invoice_id", "usage_events", ["invoice_id"], unique=False)
    op.create_index(
        "ix_usage_events_unclaimed",
        "usage_events",
        ["customer_id", "occurred_at"],
        unique=False,
        postgresql_where=sa.text("invoice_id IS NULL"),
    )
    op.create_table(
        "usage_identities",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("payload_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "event_id", name=op.f("pk_usage_identities")),
    )
    op.create_table(
        "invoice_lines",
        sa.Column("invoice_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=True),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=30, scale=6), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("steps", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.id"], name=op.f("fk_invoice_lines_invoice_id_invoices")
        ),
        sa.PrimaryKeyConstraint("invoice_id", "position", name=op.f("pk_invoice_lines")),
    )
    op.add_column(
        "customers", sa.Column("time_zone", sa.Text(), server_default="UTC", nullable=False)
    )
    op.add_column("customers", sa.Column("plan_code", sa.Text(), nullable=True))
    op.add_column(
        "customers",
        sa.Column("prepaid", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column(
        "customers",
        sa.Column("due_days", sa.Integer(), server_default=sa.text("14"), nullable=False),
    )
    _partition_usage()
    op.execute(f"GRANT SELECT, INSERT ON {', '.join(INSERT_ONLY)} TO billing_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(STATE)} TO billing_app")
    # A rejected draft is made again: its lines and aggregates go with it.
    op.execute("GRANT SELECT, INSERT, DELETE ON aggregated_usage, invoice_lines TO billing_app")


def _partition_usage() -> None:
    """Months are made ahead by a function of the owner, for the application has no DDL."""
    op.execute("CREATE TABLE usage_events_default PARTITION OF usage_events DEFAULT")
    # Rights on the whole do not reach a part that is named: the application counts what is here.
    op.execute("GRANT SELECT ON usage_events_default TO billing_app")
    op.execute("""
        CREATE FUNCTION make_usage_partition(month date) RETURNS text
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        DECLARE
            first timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
            next timestamptz :=
                (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
            name text := 'usage_events_' || to_char(month, 'YYYY_MM');
        BEGIN
            PERFORM pg_advisory_xact_lock(hashtext('make_usage_partition'));
            IF to_regclass(name) IS NULL THEN
                -- Events that came before their partition are in the default one, which must
                -- have none of them, now or while they move, for the partition to be attached.
                LOCK TABLE usage_events IN ACCESS EXCLUSIVE MODE;
                EXECUTE format(
                    'CREATE TABLE %I ('
                    '    LIKE usage_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS'
                    ')',
                    name
                );
                EXECUTE format(
                    'WITH moved AS ('
                    '    DELETE FROM usage_events_default'
                    '    WHERE occurred_at >= %L AND occurred_at < %L RETURNING *'
                    ') INSERT INTO %I SELECT * FROM moved',
                    first, next, name
                );
                EXECUTE format(
                    'ALTER TABLE usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                    name, first, next
                );
            END IF;
            RETURN name;
        END $$
    """)
    op.execute("REVOKE ALL ON FUNCTION make_usage_partition(date) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION make_usage_partition(date) TO billing_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP FUNCTION make_usage_partition(date)")
    op.drop_column("customers", "due_days")
    op.drop_column("customers", "prepaid")
    op.drop_column("customers", "plan_code")
    op.drop_column("customers", "time_zone")
    op.drop_table("invoice_lines")
    op.drop_table("usage_identities")
    op.drop_index(
        "ix_usage_events_unclaimed",
        table_name="usage_events",
        postgresql_where=sa.text("invoice_id IS NULL"),
    )
    op.drop_index("ix_usage_events_invoice_id", table_name="usage_events")
    op.drop_table("usage_events")
    op.drop_table("settlement_runs")
    op.drop_index("ix_settlement_outcomes_period_status", table_name="settlement_outcomes")
    op.drop_table("settlement_outcomes")
    op.drop_table("pricing_plans")
    op.drop_index(
        "uq_invoices_customer_id_period",
        table_name="invoices",
        postgresql_where=sa.text("status <> 'REJECTED'"),
    )
    op.drop_index(
        "ix_invoices_unpaid",
        table_name="invoices",
        postgresql_where=sa.text("status IN ('ISSUED', 'OVERDUE')"),
    )
    op.drop_index("ix_invoices_customer_id_created_at_id", table_name="invoices")
    op.drop_index("ix_invoices_created_at_id", table_name="invoices")
    op.drop_table("invoices")
    op.drop_table("invoice_numbers")
    op.drop_index(
        "ix_dead_letters_open",
        table_name="dead_letters",
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.drop_table("dead_letters")
    op.drop_table("aggregated_usage")
