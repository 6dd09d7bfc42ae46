"""The ledger can only grow, in balance, and the application may change state rows only."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LEDGER = ("ledger_transactions", "postings")
STATE = (
    "aggregate_versions",
    "customers",
    "gateway_attempts",
    "idempotency_keys",
    "orders",
    "outbox",
    "payment_methods",
    "payments",
    "refunds",
    "saga_steps",
    "wallet_holds",
    "wallets",
)
INSERT_ONLY = (*LEDGER, "gateway_webhooks", "top_ups")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _refuse_changes()
    _require_balance()
    op.execute(f"GRANT SELECT, INSERT ON {', '.join(INSERT_ONLY)} TO billing_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(STATE)} TO billing_app")


def _refuse_changes() -> None:
    op.execute("""
        CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the ledger is append-only: % on % refused', TG_OP, TG_TABLE_NAME
                USING HINT = 'Correct a transaction by another transaction.';
        END $$
    """)
    for table in LEDGER:
        # A row trigger lets TRUNCATE pass, and replica sessions skip triggers that are not ALWAYS.
        op.execute(f"""
            CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
        """)
        op.execute(f"""
            CREATE TRIGGER append_only_table BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()
        """)
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_rows")
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_table")


def _require_balance() -> None:
    op.execute("""
        CREATE FUNCTION require_balanced_postings() RETURNS trigger LANGUAGE plpgsql AS $$
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
    op.execute("""
        CREATE TRIGGER balanced AFTER INSERT ON postings REFERENCING NEW TABLE AS appended
        FOR EACH STATEMENT EXECUTE FUNCTION require_balanced_postings()
    """)
    op.execute("ALTER TABLE postings ENABLE ALWAYS TRIGGER balanced")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TRIGGER balanced ON postings")
    for table in LEDGER:
        op.execute(f"DROP TRIGGER append_only_rows ON {table}")
        op.execute(f"DROP TRIGGER append_only_table ON {table}")
    op.execute("DROP FUNCTION require_balanced_postings")
    op.execute("DROP FUNCTION refuse_ledger_change")
    op.execute(f"REVOKE ALL ON {', '.join((*INSERT_ONLY, *STATE))} FROM billing_app")
