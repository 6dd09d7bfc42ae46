"""A customer's transaction sees and makes rows of that customer only: row-level security."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ME = "NULLIF(current_setting('app.customer', true), '')"
"""Nobody where it was never set, and where the transaction that had set it is over."""
ACTING = "COALESCE(current_setting('app.customer', true), '')"
MY_WALLET = rf"ANY (ARRAY['wallet:' || {ME} || '\:available', 'wallet:' || {ME} || '\:held'])"

OWN = {
    "customers": f"id = {ME}",
    **dict.fromkeys(
        (
            *("plan_assignments", "payment_methods", "orders", "payments", "refunds", "top_ups"),
            *("wallets", "wallet_holds", "gateway_attempts", "idempotency_keys", "outbox"),
            *("coupon_claims", "coupon_uses", "usage_identities", "usage_events", "invoices"),
            *("settlement_outcomes", "audit_entries", "api_keys"),
        ),
        f"customer_id = {ME}",
    ),
    "postings": f"account = {MY_WALLET}",
    "ledger_transactions": (
        "(SELECT true FROM postings"  # noqa: S608 - names of ours
        f" WHERE transaction_id = ledger_transactions.id AND account = {MY_WALLET} LIMIT 1)"
    ),
    **{
        table: f"(SELECT customer_id FROM {parent} WHERE {parent}.id = {table}.{key}) = {ME}"  # noqa: S608
        for table, parent, key in (
            ("reviews", "payments", "payment_id"),
            ("watches", "payments", "payment_id"),
            ("saga_steps", "payments", "saga_id"),
            ("stock_reservations", "payments", "payment_id"),
            ("invoice_lines", "invoices", "invoice_id"),
            ("aggregated_usage", "invoices", "invoice_id"),
        )
    },
}
"""By table, which rows are the customer's. A row's parent is asked for by its key: of an EXISTS
PostgreSQL may make a hash of all that a customer has, and there is no index for all payments of
one."""

EVERYBODYS = {
    "coupons": "Whoever knows a code may see what the coupon is worth, and claim it.",
    "inventory": "What is in stock is nobody's, and a payment names what of it is counted.",
    "sku_rankings": "What sells best is counted over all customers, and names none.",
}
"""Tables of nobody's rows that customers read, and why."""

LIMITS = {
    ("customers", "UPDATE"): (
        ("true", "false"),
        "A top-up locks its customer's row, for which PostgreSQL wants a right to change it.",
    ),
    ("orders", "UPDATE"): (
        ("status IN ('CREATED', 'FAILED')", "status = 'PAYING'"),
        "A customer begins to pay. How that ends is for the payment's workflow to say.",
    ),
    ("payments", "INSERT"): (
        (None, "status = 'PENDING'"),
        "A customer asks for a payment. How it ends is for its workflow to say.",
    ),
    ("top_ups", "INSERT"): (
        (None, "source = 'CARD'"),
        "A customer who could say that money has arrived would be rich.",
    ),
}
"""What a customer may make of its own rows: by table and command, which it may touch (USING), what
they are then (WITH CHECK), and why."""

GRANTS = (
    "SELECT ON customers, plan_assignments, payment_methods, orders, payments, top_ups, wallets,"
    " ledger_transactions, postings, gateway_attempts, reviews, saga_steps, idempotency_keys,"
    " coupons, coupon_claims, inventory, sku_rankings, invoices, invoice_lines, aggregated_usage",
    # What is on its way into a wallet.
    "SELECT (customer_id, currency, status, wallet_amount, points_amount) ON refunds",
    "SELECT (id) ON audit_entries",
    "INSERT (caller, route, key, request_hash, resource_id),"
    " UPDATE (response_status, response_body) ON idempotency_keys",
    "UPDATE (status, review_reason, updated_at) ON orders",
    "INSERT (id, payable_type, payable_id, customer_id, currency, method, wallet_amount,"
    " card_amount, points_amount, coupon_code, discount, stock, two_calls, gateway, billing_key,"
    " status, idempotency_key, traceparent) ON payments",
    "INSERT (reference_id, operation, payment_id, customer_id, gateway, idempotency_key, amount,"
    " currency, opened_by_run) ON gateway_attempts",
    "INSERT (id, customer_id, currency, amount, source) ON top_ups",
    "UPDATE (due_days) ON customers",  # Only to lock it: see LIMITS.
    "UPDATE (issued) ON coupons",
    "INSERT (id, code, customer_id) ON coupon_claims",
    "INSERT (actor_type, actor_id, ip, user_agent, trace_id, request_id, action, target_type,"
    " target_id, customer_id, before, after, reason) ON audit_entries",
)
"""What the requests of customers do, and no more."""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _require_role()
    _carry_the_customer()
    for table, mine in OWN.items():
        _secure(table)
        op.execute(
            f"CREATE POLICY customer ON {table} TO billing_customer"
            f" USING ({mine}) WITH CHECK ({mine})"
        )
    for table, why in EVERYBODYS.items():
        _secure(table)
        op.execute(f"CREATE POLICY everybody ON {table} TO billing_customer USING (true)")
        _comment("everybody", table, why)
    for (table, command), ((using, check), why) in LIMITS.items():
        touched = "" if using is None else f" USING ({using})"
        op.execute(
            f"CREATE POLICY limits ON {table} AS RESTRICTIVE FOR {command} TO billing_customer"
            f"{touched} WITH CHECK ({check})"
        )
        _comment("limits", table, why)
    for grant in GRANTS:
        op.execute(f"GRANT {grant} TO billing_customer")


def _require_role() -> None:
    """Only who administers the server makes roles. Without INHERIT, or else what is granted and
    what is seen as a customer would come on top of what the application has. PostgreSQL 15 knows
    of INHERIT for a role and all that it is granted only, and whoever is granted one may act as
    it."""
    op.execute("""
        DO $$ BEGIN
            IF NOT EXISTS (
                SELECT FROM pg_auth_members m JOIN pg_roles app ON app.oid = m.member
                WHERE roleid = to_regrole('billing_customer') AND member = to_regrole('billing_app')
                  AND coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
                  AND NOT coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, app.rolinherit)
            ) THEN
                RAISE EXCEPTION 'the role billing_customer is missing, or billing_app may not act'
                    ' as it'
                    USING HINT = 'As a superuser: CREATE ROLE billing_customer NOLOGIN;'
                        ' ALTER ROLE billing_app NOINHERIT; GRANT billing_customer TO billing_app;';
            END IF;
        END $$
    """)


def _carry_the_customer() -> None:
    """Into rows whose customer could not be told from a row that is there when they are made."""
    op.add_column("gateway_attempts", sa.Column("customer_id", sa.Text(), nullable=True))
    op.execute("""
        UPDATE gateway_attempts SET customer_id = payments.customer_id
        FROM payments WHERE payments.id = gateway_attempts.payment_id
    """)
    op.alter_column("gateway_attempts", "customer_id", nullable=False)
    op.add_column(
        "idempotency_keys",
        sa.Column("customer_id", sa.Text(), server_default=sa.text("''"), nullable=False),
    )
    # Who took a key is not known, but for whom: what answers a repeat is still found by a customer.
    op.execute("""
        UPDATE idempotency_keys SET customer_id = made.customer_id
        FROM (
            SELECT id, customer_id FROM orders UNION ALL SELECT id, customer_id FROM payments
            UNION ALL SELECT id, customer_id FROM top_ups
            UNION ALL SELECT id, customer_id FROM coupon_claims
            UNION ALL SELECT id, customer_id FROM invoices
        ) AS made
        WHERE made.id = idempotency_keys.resource_id
    """)
    op.alter_column("idempotency_keys", "customer_id", server_default=sa.text(ACTING))


def _secure(table: str) -> None:
    """For everybody, also the owner; the application and the owner see all rows."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY application ON {table} TO billing_app USING (true)")
    op.execute(f"CREATE POLICY owner ON {table} TO CURRENT_USER USING (true)")


def _comment(policy: str, table: str, why: str) -> None:
    quoted = why.replace("'", "''")
    op.execute(f"COMMENT ON POLICY {policy} ON {table} IS '{quoted}'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table, _ in LIMITS:
        op.execute(f"DROP POLICY limits ON {table}")
    for policy, tables in (("customer", OWN), ("everybody", EVERYBODYS)):
        for table in tables:
            op.execute(f"DROP POLICY {policy} ON {table}")
            op.execute(f"DROP POLICY application ON {table}")
            op.execute(f"DROP POLICY owner ON {table}")
            op.execute(
                f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY"
            )
            op.execute(f"REVOKE ALL ON {table} FROM billing_customer")
    op.drop_column("idempotency_keys", "customer_id")
    op.drop_column("gateway_attempts", "customer_id")
