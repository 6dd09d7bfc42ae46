"""What a row was born with stays: by columns for the application, by triggers for everybody."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STAYS = {
    "aggregate_versions": "aggregate_id",
    "coupon_claims": "*",
    "coupon_uses": "payment_id code customer_id created_at",
    "coupons": "code created_at",
    "customers": "id created_at",
    "dead_messages": "id consumer topic partition offset timestamp key header_names header_values"
    " value error reason created_at",
    "dead_letters": "id kind reference reason body created_at",
    "gateway_attempts": "reference_id operation payment_id gateway idempotency_key amount currency"
    " opened_at opened_by_run",
    "idempotency_keys": "caller route key request_hash resource_id created_at",
    "inbox": "*",
    "inventory": "sku",
    "invoice_numbers": "series",
    "invoices": "id customer_id period workflow_id created_at created_xid",
    "orders": "id customer_id currency lines amount coupon_code discount points created_at",
    "outbox": "id topic event_id aggregate_id aggregate_version customer_id data"
    " idempotency_key traceparent occurred_at",
    "payment_methods": "id customer_id gateway billing_key last4 created_at",
    "payments": "id payable_type payable_id customer_id currency method wallet_amount card_amount"
    " points_amount coupon_code discount stock gateway billing_key two_calls idempotency_key"
    " traceparent created_at",
    "refunds": "id payment_id customer_id currency card_amount wallet_amount points_amount gateway"
    " reason idempotency_key traceparent created_at",
    "reviews": "id reference_id payment_id opened_at",
    "saga_steps": "saga_id step",
    "settlement_outcomes": "period customer_id",
    "settlement_runs": "period",
    "sku_rankings": "sku",
    "stock_reservations": "payment_id sku quantity created_at",
    "usage_events": "id customer_id event_id resource_type quantity occurred_at received_at",
    "wallet_holds": "payment_id customer_id currency amount created_at",
    "wallets": "customer_id currency",
    "watches": "payment_id operation until began_at",
}
"""By table the columns that the application may not change; `*` are all of them."""

FINAL = {
    "payments": ("status", "'COMPLETED', 'FAILED', 'CANCELLED'"),
    "refunds": ("status", "'COMPLETED', 'FAILED'"),
    "invoices": ("status", "'PAID', 'WRITTEN_OFF', 'CANCELLED', 'REJECTED'"),
    "wallet_holds": ("state", "'COMMITTED', 'RELEASED'"),
    "coupon_uses": ("state", "'USED', 'RESTORED'"),
    "stock_reservations": ("state", "'COMMITTED', 'RESTORED'"),
}
"""By table the column that says where a row stands, and what it never leaves."""
XID = "(pg_current_xact_id()::text)::bigint"
ISSUED = (
    "number, customer_id, period, currency, total, snapshot, checks, workflow_id, run_id,"
    " issued_at, due_at, created_at"
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("ledger_transactions", "invoices"):
        # A constant first: rows that are there need not be written anew, and were committed before.
        op.add_column(
            table,
            sa.Column("created_xid", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        )
        op.alter_column(table, "created_xid", server_default=sa.text(XID))
    op.create_index(
        "ix_ledger_transactions_created_xid",
        "ledger_transactions",
        ["created_xid"],
        unique=False,
        postgresql_using="brin",
    )
    op.create_index("ix_invoices_created_xid", "invoices", ["created_xid"], unique=False)
    op.create_check_constraint(
        op.f("ck_wallets_bounded"), "wallets", "available + held <= 2000000000000000"
    )
    _whole_ledger_transactions()
    _issued_invoices_stay()
    _final_statuses_stay()
    _grant_by_columns()


def _whole_ledger_transactions() -> None:
    """A ledger transaction and its postings are written by one database transaction."""
    op.execute("""
        CREATE OR REPLACE FUNCTION require_balanced_postings() RETURNS trigger
        LANGUAGE plpgsql AS $$
        DECLARE
            wrong bigint;
        BEGIN
            SELECT transaction_id INTO wrong FROM appended
            GROUP BY transaction_id, unit HAVING sum(amount) <> 0 LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'ledger transaction % does not sum to zero', wrong;
            END IF;
            SELECT t.id INTO wrong FROM ledger_transactions t
            WHERE t.id IN (SELECT transaction_id FROM appended)
              AND t.created_xid <> (pg_current_xact_id()::text)::bigint LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'ledger transaction % was written before', wrong
                    USING HINT = 'Correct a transaction by another transaction.';
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE FUNCTION require_postings() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            wrong text;
        BEGIN
            SELECT key INTO wrong FROM entered
            WHERE NOT EXISTS (SELECT FROM postings WHERE transaction_id = entered.id) LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'ledger transaction % has no postings', wrong
                    USING HINT = 'Insert it and its postings by one statement.';
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER with_postings AFTER INSERT ON ledger_transactions
        REFERENCING NEW TABLE AS entered FOR EACH STATEMENT EXECUTE FUNCTION require_postings()
    """)
    op.execute("ALTER TABLE ledger_transactions ENABLE ALWAYS TRIGGER with_postings")


def _issued_invoices_stay() -> None:
    op.execute("""
        CREATE FUNCTION refuse_issued_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'invoice % was issued and stays as it was', OLD.number
                USING HINT = 'Cancel it, and settle its month again.';
        END $$
    """)
    before = ", ".join(f"OLD.{name}" for name in ISSUED.split(", "))
    after = ", ".join(f"NEW.{name}" for name in ISSUED.split(", "))
    op.execute(f"""
        CREATE TRIGGER issued_stays BEFORE UPDATE ON invoices FOR EACH ROW
        WHEN (OLD.number IS NOT NULL AND (
            ({before}) IS DISTINCT FROM ({after})
            OR NEW.status NOT IN (
                'ISSUED', 'OVERDUE', 'UNCOLLECTIBLE', 'PAID', 'WRITTEN_OFF', 'CANCELLED'
            )
            OR NOT NEW.decisions @> OLD.decisions
        )) EXECUTE FUNCTION refuse_issued_change()
    """)
    op.execute("ALTER TABLE invoices ENABLE ALWAYS TRIGGER issued_stays")
    op.execute("""
        CREATE FUNCTION require_unissued() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            whose record;
        BEGIN
            -- Waits for whoever issues it at this moment.
            SELECT number, status INTO whose FROM invoices
            WHERE id = coalesce(OLD.invoice_id, NEW.invoice_id) FOR KEY SHARE;
            IF TG_OP = 'UPDATE' OR whose.number IS NOT NULL
                OR whose.status IN ('AWAITING_APPROVAL', 'REJECTED')
            THEN
                RAISE EXCEPTION '% on % refused: the invoice is %',
                    TG_OP, TG_TABLE_NAME, whose.status;
            END IF;
            IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
            RETURN NEW;
        END $$
    """)
    for table in ("invoice_lines", "aggregated_usage"):
        op.execute(f"""
            CREATE TRIGGER of_a_draft BEFORE INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION require_unissued()
        """)
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER of_a_draft")


def _final_statuses_stay() -> None:
    op.execute("""
        CREATE FUNCTION refuse_reopening() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a row of % is % for good', TG_TABLE_NAME, to_jsonb(OLD)->>TG_ARGV[0];
        END $$
    """)
    for table, (column, ends) in FINAL.items():
        op.execute(f"""
            CREATE TRIGGER final_stays BEFORE UPDATE ON {table} FOR EACH ROW
            WHEN (OLD.{column} IN ({ends}) AND NEW.{column} <> OLD.{column})
            EXECUTE FUNCTION refuse_reopening('{column}')
        """)
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER final_stays")


def _grant_by_columns() -> None:
    """Of tables that other migrations have given columns, those too."""
    for table, columns in STAYS.items():
        op.execute(f"REVOKE UPDATE ON {table} FROM billing_app")
        if columns != "*":
            every = [each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)]
            changed = ", ".join(name for name in every if name not in columns.split())
            op.execute(f"GRANT UPDATE ({changed}) ON {table} TO billing_app")
    # Who wrote it when is not for the application to say.
    op.execute("REVOKE INSERT ON ledger_transactions, postings FROM billing_app")
    op.execute("GRANT INSERT (key, kind, payment_id) ON ledger_transactions TO billing_app")
    op.execute("GRANT INSERT (transaction_id, account, unit, amount) ON postings TO billing_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in STAYS:
        # Of the table: that of its columns goes with it.
        op.execute(f"REVOKE UPDATE ON {table} FROM billing_app")
        op.execute(f"GRANT UPDATE ON {table} TO billing_app")
    op.execute("REVOKE INSERT ON ledger_transactions, postings FROM billing_app")
    op.execute("GRANT INSERT ON ledger_transactions, postings TO billing_app")
    for table in FINAL:
        op.execute(f"DROP TRIGGER final_stays ON {table}")
    for table in ("invoice_lines", "aggregated_usage"):
        op.execute(f"DROP TRIGGER of_a_draft ON {table}")
    op.execute("DROP TRIGGER issued_stays ON invoices")
    op.execute("DROP TRIGGER with_postings ON ledger_transactions")
    for function in ("refuse_reopening", "require_unissued", "refuse_issued_change"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP FUNCTION require_postings")
    op.execute("""
        CREATE OR REPLACE FUNCTION require_balanced_postings() RETURNS trigger
        LANGUAGE plpgsql AS $$
        DECLARE
            unbalanced bigint;
        BEGIN
            SELECT transaction_id INTO unbalanced FROM appended
            GROUP BY transaction_id, unit HAVING sum(amount) <> 0 LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'ledger transaction % does not sum to zero', unbalanced;
            END IF;
            RETURN NULL;
        END $$
    """)
    op.drop_constraint(op.f("ck_wallets_bounded"), "wallets")
    op.drop_index("ix_invoices_created_xid", table_name="invoices")
    op.drop_index("ix_ledger_transactions_created_xid", table_name="ledger_transactions")
    for table in ("ledger_transactions", "invoices"):
        op.drop_column(table, "created_xid")
