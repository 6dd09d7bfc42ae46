"""What the application's roles may do, asked of PostgreSQL itself."""

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from dev.postgres import APPLICATION, CUSTOMER
from domain.access import SYSTEM
from store.database import Database
from store.tables import metadata
from tests.support.samples import new_id

INSERT_ONLY = {
    "coupon_claims",
    "gateway_webhooks",
    "top_ups",
    "plan_assignments",
    "pricing_plans",
    "usage_identities",
}
CUT_OFF = {"audit_entries", "audit_seals"}
"""Deleted only with the entry that says so: a trigger looks (tests/service/test_audit_cut.py)."""
REWRITTEN = {"aggregated_usage", "invoice_lines"}
"""What a settlement computes again as a whole, while its invoice is not issued."""
REBUILT = {"inbox", "sku_rankings"}
"""What follows from events alone: emptied when it is built anew from them."""
EXPIRED = {"auth_sessions"}
"""What is forgotten some time after its end, with all that hangs on it."""
LEDGER = {
    "ledger_transactions": {"key", "kind", "payment_id"},
    "postings": {"transaction_id", "account", "unit", "amount"},
    "audit_entries": {
        *("actor_type", "actor_id", "ip", "user_agent", "trace_id", "request_id"),
        *("action", "target_type", "target_id", "customer_id"),
        *("before", "after", "reason", "viewed_from"),
    },
    "audit_seals": {"n", "from_id", "last_xid", "last_id", "highest_id", "count", "hash"},
}
"""What is said of it; the rest (its number, when, by which transaction) is not ours to say."""
CHANGED = {
    "api_keys": {"digest", "digest_secret", "expires_at", "revoked_at", "last_used_at"},
    "aggregate_versions": {"version"},
    "auth_refresh_tokens": {"used_at"},
    "auth_sessions": {"revoked_at"},
    "auth_signing_keys": {"withdrawn_at"},
    "auth_users": {"password_hash", "roles", "customer_id", "disabled_at"},
    "coupon_uses": {"state"},
    "customers": {"time_zone", "prepaid", "due_days"},
    "dead_letter_job_items": {"state", "error", "done_at"},
    "dead_letters": {
        *("state", "state_reason", "state_actor", "state_at", "job_id", "failure_reason"),
        *("message_id", "dlt_topic", "original_topic", "partition", "offset", "timestamp", "key"),
        *("header_names", "header_values"),
    },
    "gateway_attempts": {"outcome", "gateway_reference", "code", "message", "closed_at"},
    "idempotency_keys": {"response_status", "response_body"},
    "inventory": {"on_hand", "reserved", "withdrawn", "updated_at"},
    "invoice_numbers": {"last", "last_at"},
    "outbox": {"published_at", "refused_at", "refusal"},
    "payment_methods": {"is_default"},
    "proposals": {"status", "ended_by", "ended_at"},
    "reviews": {
        *("operation", "question", "reason"),
        *("closed_at", "outcome", "note", "decided_by"),
    },
    "saga_steps": {"state", "at"},
    "settlement_runs": {"started_at", "finished_at"},
    "sku_rankings": {"orders", "quantity"},
    "stock_reservations": {"state", "resolution"},
    "usage_events": {"invoice_id", "void_reason"},
    "wallet_holds": {"state"},
    "wallets": {"available", "held"},
    "watches": {"ended_at"},
}
"""The columns that the application changes, where they are few."""
STAYS = {
    "coupons": {"code", "created_at", "created_xid"},
    "dead_letter_jobs": {"id", "operation", "wanted", "actor_id"},
    "invoices": {"id", "customer_id", "period", "workflow_id", "created_at", "created_xid"},
    "orders": {
        *("id", "customer_id", "currency", "lines", "amount"),
        *("coupon_code", "discount", "points", "created_at", "created_xid"),
    },
    "payments": {
        *("id", "payable_type", "payable_id", "customer_id", "currency", "method"),
        *("wallet_amount", "card_amount", "points_amount", "coupon_code", "discount", "stock"),
        *("gateway", "billing_key", "two_calls", "idempotency_key", "traceparent", "created_at"),
        "created_xid",
    },
    "refunds": {
        *("id", "payment_id", "customer_id", "currency", "gateway", "reason"),
        *("card_amount", "wallet_amount", "points_amount"),
        *("idempotency_key", "traceparent", "created_at", "created_xid"),
    },
    "settlement_outcomes": {"period", "customer_id", "created_xid"},
}
"""Where they are many: the columns that it does not change."""

OF_CUSTOMERS = {
    "SELECT": {
        *("customers", "plan_assignments", "payment_methods", "orders", "payments", "top_ups"),
        *("wallets", "ledger_transactions", "postings", "gateway_attempts", "reviews"),
        *("saga_steps", "idempotency_keys", "coupons", "coupon_claims", "inventory"),
        *("sku_rankings", "invoices", "invoice_lines", "aggregated_usage", "usage_events"),
    }
}
"""What the requests of a customer read whole, of the rows that are its own."""
COLUMNS_OF_CUSTOMERS = {
    "SELECT": {
        "audit_entries": {"id"},
        "refunds": {"customer_id", "currency", "status", "wallet_amount", "points_amount"},
    },
    "UPDATE": {
        "coupons": {"issued"},
        "customers": {"due_days"},
        "idempotency_keys": {"response_status", "response_body"},
        "orders": {"status", "review_reason", "updated_at"},
    },
    "INSERT": {
        "audit_entries": LEDGER["audit_entries"] - {"viewed_from"},
        "coupon_claims": {"id", "code", "customer_id"},
        "gateway_attempts": {
            *("reference_id", "operation", "payment_id", "customer_id", "gateway"),
            *("idempotency_key", "amount", "currency", "opened_by_run"),
        },
        "idempotency_keys": {"caller", "route", "key", "request_hash", "resource_id"},
        "payments": STAYS["payments"] - {"created_at", "created_xid"} | {"status"},
        "top_ups": {"id", "customer_id", "currency", "amount", "source"},
    },
}
"""Of the rest these columns. `customers` is only locked: a policy refuses every change."""

_GRANTS = text("""
    SELECT c.relname, COALESCE(grantee.rolname, 'PUBLIC') AS grantee, acl.privilege_type
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    CROSS JOIN LATERAL aclexplode(COALESCE(c.relacl, acldefault('r', c.relowner))) AS acl
    LEFT JOIN pg_roles grantee ON grantee.oid = acl.grantee
    WHERE acl.grantee <> c.relowner
""")
_COLUMN_GRANTS = text("""
    SELECT c.relname, a.attname, COALESCE(grantee.rolname, 'PUBLIC'), acl.privilege_type
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid AND c.relnamespace = 'public'::regnamespace
    CROSS JOIN LATERAL aclexplode(a.attacl) AS acl
    LEFT JOIN pg_roles grantee ON grantee.oid = acl.grantee
""")


async def test_the_application_reads_and_adds_and_changes_state_only(database: Database) -> None:
    async with database.engine.connect() as tx:
        granted = {tuple(row) for row in await tx.execute(_GRANTS)}

    expected = {
        (table, APPLICATION, privilege)
        for table in metadata.tables
        for privilege in _expected(table)
    } | {("usage_events_default", APPLICATION, "SELECT")}
    expected |= {
        (table, CUSTOMER, privilege)
        for privilege, tables in OF_CUSTOMERS.items()
        for table in tables
    }
    assert granted == expected


def _expected(table: str) -> set[str]:
    if table in CUT_OFF:
        return {"SELECT", "DELETE"}
    if table in LEDGER:
        return {"SELECT"}
    if table in INSERT_ONLY:
        return {"SELECT", "INSERT"}
    if table in REWRITTEN | REBUILT | EXPIRED:
        return {"SELECT", "INSERT", "DELETE"}
    by_columns = table in CHANGED or table in STAYS
    return {"SELECT", "INSERT"} | (set() if by_columns else {"UPDATE"})


async def test_of_a_row_it_changes_only_what_may_change(database: Database) -> None:
    async with database.engine.connect() as tx:
        granted = {tuple(row) for row in await tx.execute(_COLUMN_GRANTS)}

    columns = {name: set(table.c.keys()) for name, table in metadata.tables.items()}
    changed = CHANGED | {name: columns[name] - stays for name, stays in STAYS.items()}
    expected = {
        (table, column, APPLICATION, privilege)
        for privilege, tables in (("UPDATE", changed), ("INSERT", LEDGER))
        for table, names in tables.items()
        for column in names
    }
    expected |= {
        (table, column, CUSTOMER, privilege)
        for privilege, tables in COLUMNS_OF_CUSTOMERS.items()
        for table, names in tables.items()
        for column in names
    }
    assert granted == expected


async def test_no_right_hides_in_a_role_or_the_database(database: Database) -> None:
    """The application may become the customers' role, and has nothing of it before it does."""
    roles = text("""
        SELECT rolname, rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication,
            rolbypassrls,
            EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid) AS owner,
            has_database_privilege(r.oid, current_database(), 'CREATE') AS schemas,
            has_database_privilege(r.oid, current_database(), 'TEMPORARY') AS temporary,
            has_schema_privilege(r.oid, 'public', 'CREATE') AS tables
        FROM pg_roles r WHERE rolname IN (:application, :customer)
    """)
    members = text("""
        SELECT member::regrole::text, roleid::regrole::text, inherit_option, admin_option
        FROM pg_auth_members
        WHERE member IN (to_regrole(:application), to_regrole(:customer))
    """)
    names = {"application": APPLICATION, "customer": CUSTOMER}
    async with database.engine.connect() as tx:
        found = {name: (login, rights) for name, login, *rights in await tx.execute(roles, names)}
        memberships = [tuple(row) for row in await tx.execute(members, names)]

    assert {name: login for name, (login, _) in found.items()} == {
        APPLICATION: True,
        CUSTOMER: False,
    }
    assert not any(right for _, rights in found.values() for right in rights), found
    assert memberships == [(APPLICATION, CUSTOMER, False, False)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE postings (id int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE payments ADD COLUMN mine int",
        "ALTER TABLE postings DISABLE TRIGGER ALL",
        "DROP TABLE outbox",
        "DROP TRIGGER balanced ON postings",
        "DELETE FROM payments",
        "UPDATE payments SET card_amount = 1",
        "UPDATE payments SET customer_id = 'mine', status = 'COMPLETED'",
        "UPDATE refunds SET card_amount = card_amount + 1",
        "UPDATE orders SET lines = '[]'",
        "UPDATE orders SET discount = amount",
        "UPDATE invoices SET customer_id = 'mine'",
        "UPDATE wallet_holds SET amount = 0",
        "UPDATE wallets SET customer_id = 'mine'",
        "UPDATE outbox SET data = '{}'",
        "UPDATE idempotency_keys SET request_hash = ''",
        "UPDATE idempotency_keys SET resource_id = gen_random_uuid()",
        "UPDATE usage_events SET quantity = 0",
        "UPDATE usage_identities SET payload_hash = ''",
        "UPDATE gateway_attempts SET amount = 0",
        "UPDATE stock_reservations SET quantity = 0",
        "UPDATE dead_letters SET payload = ''",
        "DELETE FROM dead_letters",
        "UPDATE top_ups SET amount = 1",
        "UPDATE auth_users SET name = 'root'",
        "DELETE FROM auth_users",
        "UPDATE auth_refresh_tokens SET hash = ''",
        "UPDATE auth_sessions SET user_id = gen_random_uuid()",
        "UPDATE auth_signing_keys SET public = '{}'",
        "UPDATE audit_entries SET actor_id = 'nobody'",
        "TRUNCATE audit_seals",
        "INSERT INTO audit_entries (at) VALUES (now())",
        "INSERT INTO audit_entries (created_xid) VALUES (1)",
        "INSERT INTO audit_seals (sealed_at) VALUES (now())",
        "INSERT INTO ledger_transactions (key, kind, created_xid) VALUES ('k', 'k', 1)",
        "INSERT INTO ledger_transactions (key, kind, created_at) VALUES ('k', 'k', now())",
        "TRUNCATE outbox",
        "SET session_replication_role = replica",
        "SELECT version_num FROM alembic_version",
    ],
)
async def test_what_it_may_not_do_is_refused(database: Database, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        async with database.begin(SYSTEM) as tx:
            await tx.execute(text(statement))


COUPON = """
    WITH coupon AS (
        INSERT INTO coupons
            (code, kind, basis_points, amounts, minimum_order, valid_from, valid_until)
        VALUES (CAST(:id AS text), 'FIXED', 0, '{}', '{}', now(), now()) RETURNING code
    )
    INSERT INTO coupon_uses (payment_id, code, customer_id, state)
    SELECT CAST(:id AS uuid), code, 'c', 'RESTORED' FROM coupon
"""
ENDED = {
    "wallet_holds": """
        INSERT INTO wallet_holds (payment_id, customer_id, currency, amount, state)
        VALUES (CAST(:id AS uuid), 'c', 'KRW', 1, 'RELEASED')
    """,
    "stock_reservations": """
        INSERT INTO stock_reservations (payment_id, sku, quantity, state)
        VALUES (CAST(:id AS uuid), 's', 1, 'COMMITTED')
    """,
    "coupon_uses": COUPON,
}


@pytest.mark.parametrize("table", ENDED)
async def test_what_was_set_aside_and_has_ended_is_not_set_aside_again(
    database: Database, owner: Database, table: str
) -> None:
    mine = {"id": new_id()}
    async with database.begin(SYSTEM) as tx:
        await tx.execute(text(ENDED[table]), mine)
    rows = metadata.tables[table]
    reopened = update(rows).where(rows.c.payment_id == mine["id"]).values(state="RESERVED")

    for role in (database, owner):
        with pytest.raises(DBAPIError, match="for good"):
            async with role.begin(SYSTEM) as tx:
                await tx.execute(reopened)
