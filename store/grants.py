"""What the application's roles may do: what they need, and what PostgreSQL says that they have.

The migrations grant it. Here it stands once more, as a whole, for whoever compares the two.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import bindparam, text

from store.database import Transaction
from store.tables import metadata

APPLICATION = "billing_app"
CUSTOMER = "billing_customer"
ISSUER = "billing_auth"
PUBLIC = "PUBLIC"

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

OF_THE_ISSUER = {"auth_users", "auth_sessions", "auth_refresh_tokens", "auth_signing_keys"}
"""What nobody else reads, the application neither."""
COLUMNS_OF_THE_ISSUER = {
    "SELECT": {
        "audit_entries": {"id", "actor_id", "target_type", "target_id", "viewed_from"},
        "customers": {"id"},
    },
    "INSERT": {"audit_entries": LEDGER["audit_entries"]},
}
"""Of the rest these columns: whether there is a customer, and what it notes of its own."""

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


@dataclass(frozen=True, order=True)
class Grant:
    """A right of a role to a table; to one column of it, where that is named."""

    role: str
    privilege: str
    table: str
    column: str = ""

    def __str__(self) -> str:
        """As GRANT and REVOKE have it, apart from the role."""
        return f"{self.privilege}{f' ({self.column})' if self.column else ''} ON {self.table}"


@dataclass(frozen=True)
class Role:
    """Whether it can log in, which rights beside those to tables it has, and whose it may take on:
    each with whether it has them all along, and whether it may give them to others."""

    logs_in: bool
    rights: frozenset[str] = frozenset()
    takes_on: frozenset[tuple[str, bool, bool]] = frozenset()


ROLES = {
    APPLICATION: Role(True, takes_on=frozenset({(CUSTOMER, False, False)})),
    CUSTOMER: Role(False),
    ISSUER: Role(True),
}
"""The application may become the customers' role, and has nothing of it before it does."""


def _of_tables() -> Iterator[Grant]:
    for table in metadata.tables:
        for privilege in _whole(table):
            yield Grant(_whose(table), privilege, table)
    yield Grant(APPLICATION, "SELECT", "usage_events_default")
    for privilege, tables in OF_CUSTOMERS.items():
        for table in tables:
            yield Grant(CUSTOMER, privilege, table)


def _of_columns() -> Iterator[Grant]:
    columns = {name: set(table.c.keys()) for name, table in metadata.tables.items()}
    changed = CHANGED | {name: columns[name] - stays for name, stays in STAYS.items()}
    for role, privileges in (
        (None, {"UPDATE": changed, "INSERT": LEDGER}),
        (CUSTOMER, COLUMNS_OF_CUSTOMERS),
        (ISSUER, COLUMNS_OF_THE_ISSUER),
    ):
        for privilege, tables in privileges.items():
            for table, names in tables.items():
                yield from (Grant(role or _whose(table), privilege, table, each) for each in names)


def _whose(table: str) -> str:
    """Whose table it is: each has one role that works with it."""
    return ISSUER if table in OF_THE_ISSUER else APPLICATION


def _whole(table: str) -> set[str]:
    """That role's rights to all columns of a table."""
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


EXPECTED = frozenset([*_of_tables(), *_of_columns()])


_FOUND = text("""
    SELECT COALESCE(grantee.rolname, 'PUBLIC') AS role, privilege_type, relname, attname
    FROM (
        SELECT c.relname, '' AS attname, c.relowner, acl.*
        FROM pg_class c
        CROSS JOIN LATERAL aclexplode(COALESCE(c.relacl, acldefault('r', c.relowner))) AS acl
        WHERE c.relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT c.relname, a.attname, c.relowner, acl.*
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid AND c.relnamespace = 'public'::regnamespace
        CROSS JOIN LATERAL aclexplode(a.attacl) AS acl
    ) AS granted
    LEFT JOIN pg_roles grantee ON grantee.oid = granted.grantee
    WHERE granted.grantee <> granted.relowner
""")
_ROLES = text("""
    SELECT rolname, rolcanlogin, rights.name
    FROM pg_roles r LEFT JOIN LATERAL (VALUES
        ('everything, as a superuser', rolsuper),
        ('CREATEDB', rolcreatedb),
        ('CREATEROLE', rolcreaterole),
        ('REPLICATION', rolreplication),
        ('BYPASSRLS', rolbypassrls),
        ('tables of its own', EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid)),
        (
            'CREATE in the database',
            has_database_privilege(r.oid, current_database(), 'CREATE')
        ),
        (
            'temporary tables',
            has_database_privilege(r.oid, current_database(), 'TEMPORARY')
        ),
        ('CREATE in the schema public', has_schema_privilege(r.oid, 'public', 'CREATE'))
    ) AS rights (name, has) ON has
    WHERE rolname = ANY (:roles)
""").bindparams(bindparam("roles", list(ROLES)))
_MEMBERS = text("""
    SELECT
        member.rolname AS member,
        role.rolname AS role,
        -- PostgreSQL 15 knows it of the member only, for all that it is granted.
        COALESCE(CAST(to_jsonb(m) ->> 'inherit_option' AS boolean), member.rolinherit),
        admin_option
    FROM pg_auth_members m
    JOIN pg_roles member ON member.oid = m.member
    JOIN pg_roles role ON role.oid = m.roleid
    WHERE member.rolname = ANY (:roles)
""").bindparams(bindparam("roles", list(ROLES)))


async def found(tx: Transaction) -> frozenset[Grant]:
    """Whoever has a right to any table, beside its owner; `PUBLIC` is everybody."""
    return frozenset(Grant(*row) for row in await tx.execute(_FOUND))


async def roles(tx: Transaction) -> dict[str, Role]:
    """What they may do beside that."""
    taken: defaultdict[str, set[tuple[str, bool, bool]]] = defaultdict(set)
    for member, *role in await tx.execute(_MEMBERS):
        taken[member].add((role[0], role[1], role[2]))
    found_: dict[str, Role] = {}
    for row in await tx.execute(_ROLES):
        before = found_.get(row.rolname, Role(row.rolcanlogin))
        rights = before.rights | {row.name} if row.name is not None else before.rights
        found_[row.rolname] = Role(row.rolcanlogin, rights, frozenset(taken[row.rolname]))
    return found_
