"""What the application's role may do, asked of PostgreSQL itself."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from dev.postgres import APPLICATION
from store.database import Database
from store.tables import metadata

INSERT_ONLY = {
    "ledger_transactions",
    "postings",
    "gateway_webhooks",
    "top_ups",
    "plan_assignments",
    "pricing_plans",
    "usage_identities",
}
REWRITTEN = {"aggregated_usage", "invoice_lines"}
"""What a settlement computes again as a whole, while its invoice is not issued."""
REBUILT = {"inbox", "sku_rankings"}
"""What follows from events alone: emptied when it is built anew from them."""

_GRANTS = text("""
    SELECT c.relname, COALESCE(grantee.rolname, 'PUBLIC') AS grantee, acl.privilege_type
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    CROSS JOIN LATERAL aclexplode(COALESCE(c.relacl, acldefault('r', c.relowner))) AS acl
    LEFT JOIN pg_roles grantee ON grantee.oid = acl.grantee
    WHERE acl.grantee <> c.relowner
""")


async def test_the_application_reads_and_adds_and_changes_state_only(database: Database) -> None:
    async with database.connect() as tx:
        granted = {tuple(row) for row in await tx.execute(_GRANTS)}

    expected = {
        (table, APPLICATION, privilege)
        for table in metadata.tables
        for privilege in _expected(table)
    } | {("usage_events_default", APPLICATION, "SELECT")}
    assert granted == expected


def _expected(table: str) -> set[str]:
    if table in INSERT_ONLY:
        return {"SELECT", "INSERT"}
    if table in REWRITTEN:
        return {"SELECT", "INSERT", "DELETE"}
    return {"SELECT", "INSERT", "UPDATE"} | ({"DELETE"} if table in REBUILT else set())


async def test_no_right_hides_in_a_column_a_role_or_the_database(database: Database) -> None:
    async with database.connect() as tx:
        columns = await tx.scalar(
            text("""
                SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                WHERE a.attacl IS NOT NULL AND c.relnamespace = 'public'::regnamespace
            """)
        )
        role = (
            await tx.execute(
                text("""
                    SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
                        EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) AS member,
                        EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid) AS owner,
                        has_database_privilege(r.oid, current_database(), 'CREATE') AS schemas,
                        has_database_privilege(r.oid, current_database(), 'TEMPORARY') AS temporary,
                        has_schema_privilege(r.oid, 'public', 'CREATE') AS tables
                    FROM pg_roles r WHERE rolname = current_user
                """)
            )
        ).one()

    assert columns == 0
    assert not any(role), role


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
        "TRUNCATE outbox",
        "SET session_replication_role = replica",
        "SELECT version_num FROM alembic_version",
    ],
)
async def test_what_it_may_not_do_is_refused(database: Database, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        async with database.begin() as tx:
            await tx.execute(text(statement))
