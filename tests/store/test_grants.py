"""What the application's roles may do, asked of PostgreSQL itself."""

from functools import partial

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from domain.access import SYSTEM
from domain.audit import Action, Actor, ActorType, Entry, Noun
from runtime.settings import Settings
from store import audit, grants
from store.database import Database
from store.tables import metadata
from tests.support.databases import connected
from tests.support.samples import new_id


async def test_each_role_has_the_rights_that_it_needs_and_no_other(database: Database) -> None:
    async with database.engine.connect() as tx:
        found = await grants.found(tx)

    assert found == grants.EXPECTED


async def test_no_right_hides_in_a_role_or_the_database(database: Database) -> None:
    """The application may become the customers' role, and has nothing of it before it does."""
    async with database.engine.connect() as tx:
        assert await grants.roles(tx) == grants.ROLES


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
        "SELECT password_hash FROM auth_users",
        "SELECT FROM auth_sessions",
        "SELECT hash FROM auth_refresh_tokens",
        "SELECT private FROM auth_signing_keys",
        "UPDATE auth_users SET password_hash = ''",
        "SET ROLE billing_auth",
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


OF_ANOTHER = """
    INSERT INTO audit_entries (actor_type, actor_id, action, target_type, target_id)
    VALUES ('SYSTEM', 'auth', 'PAYMENT_RESOLVED', 'payment', 'p-1')
"""


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE auth_users SET name = 'root'",
        "DELETE FROM auth_users",
        "UPDATE auth_refresh_tokens SET hash = ''",
        "UPDATE auth_sessions SET user_id = gen_random_uuid()",
        "UPDATE auth_signing_keys SET public = '{}'",
        "SELECT time_zone FROM customers",
        "UPDATE customers SET due_days = 1",
        "SELECT FROM payments",
        "SELECT action FROM audit_entries",
        "DELETE FROM audit_entries",
        "SET ROLE billing_app",
        OF_ANOTHER,
    ],
)
async def test_what_the_issuer_may_not_do_is_refused(settings: Settings, statement: str) -> None:
    """It notes what it does itself, and nothing that others do."""
    async with connected(settings.auth_database_url) as issuer:
        with pytest.raises(DBAPIError, match=r"permission denied|row-level security policy"):
            async with issuer.begin(SYSTEM) as tx:
                await tx.execute(text(statement))


async def test_the_issuer_sees_only_what_it_has_noted_itself(
    settings: Settings, database: Database
) -> None:
    by = f"a-{new_id()}"
    entry = partial(Entry, Actor(ActorType.SYSTEM, by), Action.USER_CREATED)
    async with database.begin(SYSTEM) as tx:
        await audit.append(tx, entry(Noun.USER, "u-1"), entry(Noun.PAYMENT, "p-1"))
    seen = text("SELECT target_id FROM audit_entries WHERE actor_id = :by")

    async with connected(settings.auth_database_url) as issuer, issuer.begin(SYSTEM) as tx:
        assert list((await tx.execute(seen, {"by": by})).scalars()) == ["u-1"]


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
