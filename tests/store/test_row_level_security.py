"""Row-level security: a customer's transaction sees, makes and changes rows of that customer only,
whatever a statement says; asked of PostgreSQL's catalog for every table, and tried."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from dev.postgres import APPLICATION, CUSTOMER, ISSUER
from domain.access import SYSTEM, Actor, Scope
from domain.errors import KeyReused
from domain.payment import Method, PaymentRequest
from runtime.settings import Settings
from store import change, customer, idempotency, payment
from store.database import Database, Transaction
from store.idempotency import Claim
from store.tables import metadata, payments
from tests.support.databases import connected
from tests.support.samples import a_payment, new_customer, new_id

NOBODYS = {
    "aggregate_versions": "counts the events of a thing and says nothing of it",
    "alembic_version": "of the migrations",
    "audit_seals": "hashes over the entries of all",
    "auth_refresh_tokens": "of our own issuer, which acts for nobody who has come in yet",
    "auth_sessions": "the same",
    "auth_signing_keys": "the same",
    "auth_users": "the same",
    "dead_letters": "of operators, who have to see all of them",
    "dead_letter_job_items": "of operators",
    "dead_letter_jobs": "of operators",
    "gateway_webhooks": "hints of a PG, of any shape",
    "inbox": "ids of events that a consumer has taken",
    "invoice_numbers": "one counter for all",
    "pricing_plans": "price lists, of which an invoice shows its own",
    "proposals": "decisions of those who are no customers",
    "settlement_runs": "months",
}
"""Tables of no customer, without row-level security, and why: customers have no right to them."""
EVERYBODYS = {"coupons", "inventory", "sku_rankings"}
"""Tables of no customer that customers read: their policies say why."""

_TABLES = text("""
    SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition
""")
_POLICIES = text("""
    SELECT polrelid::regclass::text AS name, polname, polcmd::text, polpermissive,
        polroles::regrole[]::text[] AS roles,
        pg_get_expr(polqual, polrelid) AS using,
        coalesce(pg_get_expr(polwithcheck, polrelid), pg_get_expr(polqual, polrelid)) AS check,
        obj_description(oid, 'pg_policy') AS why
    FROM pg_policy
""")


async def asked(database: Database, query: Any) -> list[Any]:
    async with database.begin(SYSTEM) as tx:
        return list((await tx.execute(query)).all())


async def test_every_table_is_closed_or_is_of_nobody(database: Database) -> None:
    secured: dict[str, bool] = dict(await asked(database, _TABLES))

    assert secured.keys() >= metadata.tables.keys()
    assert {name for name, closed in secured.items() if not closed} == secured.keys() & NOBODYS
    assert secured.keys() >= EVERYBODYS


async def test_of_every_closed_table_a_customer_meets_what_is_its_own(database: Database) -> None:
    """One permissive policy each, for all commands; what narrows it says why."""
    policies = await asked(database, _POLICIES)
    closed = metadata.tables.keys() - NOBODYS
    for_all = {
        each.name: each
        for each in policies
        if each.roles == [CUSTOMER] and each.polpermissive and each.polcmd == "*"
    }

    assert for_all.keys() == closed
    for name, policy in for_all.items():
        if name in EVERYBODYS:
            assert (policy.using, bool(policy.why)) == ("true", True), name
        else:
            assert "current_setting('app.customer'" in policy.using, name
            assert policy.check == policy.using, name
    rest = [each for each in policies if CUSTOMER in each.roles and each not in for_all.values()]
    assert all(each.why and not each.polpermissive for each in rest), rest


async def test_the_system_and_the_owner_see_all(database: Database, owner: Database) -> None:
    narrow = ([CUSTOMER], [ISSUER])
    whole = [each for each in await asked(database, _POLICIES) if each.roles not in narrow]

    assert {(each.using, each.check, each.polcmd) for each in whole} == {("true", "true", "*")}
    async with owner.begin(SYSTEM) as tx:
        [own] = (await tx.execute(select(func.current_user()))).scalars()
    for name in metadata.tables.keys() - NOBODYS:
        seeing = {role for each in whole if each.name == name for role in each.roles}
        assert seeing == {APPLICATION, own}, name


async def test_our_own_issuer_meets_whether_there_is_a_customer_and_its_own_entries(
    database: Database,
) -> None:
    its_own = [each for each in await asked(database, _POLICIES) if ISSUER in each.roles]

    assert {(each.name, each.polcmd) for each in its_own} == {
        ("audit_entries", "*"),
        ("customers", "r"),
    }
    [entries] = [each for each in its_own if each.name == "audit_entries"]
    assert "target_type" in entries.using
    assert entries.check == entries.using


async def test_the_system_pays_nothing_for_it(database: Database) -> None:
    """A policy that is always true is gone from the plan: no statement of the hot paths is slower
    for it."""
    for name in sorted(metadata.tables.keys() - NOBODYS):
        whole = metadata.tables[name].select()
        plan = await asked(database, text(f"EXPLAIN {whole.compile()}"))
        assert all("Filter" not in line and "SubPlan" not in line for (line,) in plan), plan


async def test_nothing_leads_past_the_policies(database: Database) -> None:
    """A partition that is read directly, a view with its owner's eyes, a function of the owner."""
    async with database.begin(SYSTEM) as tx:
        await tx.execute(select(func.make_usage_partition(date(2031, 5, 1))))
    past = text("""
        SELECT 'partition ' || c.relname FROM pg_class c
        WHERE c.relispartition AND has_table_privilege(:customer, c.oid, 'SELECT')
        UNION ALL
        SELECT 'partition ' || c.relname FROM pg_class c
        WHERE c.relispartition AND c.relname <> 'usage_events_default'
          AND has_table_privilege(:application, c.oid, 'SELECT')
        UNION ALL
        SELECT 'view ' || c.relname FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'm')
          AND NOT coalesce(c.reloptions @> ARRAY['security_invoker=true'], false)
        UNION ALL
        SELECT 'function ' || p.proname FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
          AND has_function_privilege(:customer, p.oid, 'EXECUTE')
    """).bindparams(customer=CUSTOMER, application=APPLICATION)

    assert await asked(database, past) == []


def of(customer_id: str) -> Scope:
    return Scope(Actor.CUSTOMER, customer_id)


@pytest.fixture
async def two(database: Database) -> tuple[PaymentRequest, PaymentRequest]:
    """A payment each of two customers."""
    mine, yours = a_payment(0, 1_000), a_payment(0, 2_000)
    async with database.begin(SYSTEM) as tx:
        for each in (mine, yours):
            await customer.put(tx, each.customer_id)
            await payment.create(tx, each, Method.CARD)
    return mine, yours


Pair = tuple[PaymentRequest, PaymentRequest]
Opened = Callable[[Scope], Any]


@pytest.mark.parametrize("way", ["begin", "read", "statements"])
async def test_a_customer_sees_its_own_rows_and_no_others(
    database: Database, two: Pair, way: str
) -> None:
    mine, yours = two
    both = select(payments.c.id).where(payments.c.id.in_([each.payment_id for each in two]))
    every = text("SELECT DISTINCT customer_id FROM gateway_attempts")
    opened: Opened = getattr(database, way)

    async with opened(of(mine.customer_id)) as tx:
        assert (await tx.execute(both)).scalars().all() == [mine.payment_id]
        assert (await tx.execute(every)).scalars().all() == [mine.customer_id]
        assert await payment.find(tx, yours.payment_id) is None
        assert await customer.find(tx, yours.customer_id) is None
    async with opened(SYSTEM) as tx:
        assert len((await tx.execute(both)).all()) == 2


@pytest.fixture
async def single(settings: Settings) -> AsyncIterator[Database]:
    """One connection, used again and again."""
    async with connected(settings.database_url, statement_seconds=1) as pool:
        yield pool


@pytest.mark.parametrize("setting", [None, ""])
async def test_without_a_customer_there_are_no_rows(
    single: Database, two: Pair, setting: str | None
) -> None:
    """Where it was never set, and where it reads as it does after a transaction that had set it."""
    async with single.begin(SYSTEM) as tx:
        await tx.execute(text(f"SET LOCAL ROLE {CUSTOMER}"))
        if setting is not None:
            await tx.execute(select(func.set_config("app.customer", setting, True)))
        for table in sorted(metadata.tables.keys() - NOBODYS - EVERYBODYS):
            if await tx.scalar(select(func.has_table_privilege(table, "SELECT"))):
                whole = select(func.count()).select_from(metadata.tables[table])
                assert await tx.scalar(whole) == 0, table
    async with single.read(of("")) as tx:
        assert await tx.scalar(select(func.count()).select_from(payments)) == 0


async def test_a_row_for_somebody_else_is_refused(database: Database, two: Pair) -> None:
    """By its policy, also where the application would not notice."""
    mine, yours = two
    unpaid = a_payment(0, 1_000, customer_id=yours.customer_id)
    audited = text("""
        INSERT INTO audit_entries
            (actor_type, actor_id, action, target_type, target_id, customer_id)
        VALUES ('USER', 'mallory', 'PAYMENT_CREATED', 'payment', 'p', :customer_id)
    """)
    topped_up = text("""
        INSERT INTO top_ups (id, customer_id, currency, amount, source)
        VALUES (gen_random_uuid(), :customer_id, 'KRW', 1, 'CARD')
    """)
    for statement in (audited, topped_up):
        await refused(database, mine, statement, customer_id=yours.customer_id)
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.begin(of(mine.customer_id)) as tx:
            await payment.create(tx, unpaid, Method.CARD)


async def test_a_row_is_not_moved_to_somebody_else(
    database: Database, owner: Database, two: Pair
) -> None:
    """There is no right to change such a column, and with one the policy refuses."""
    mine, yours = two
    moved = text("UPDATE payments SET customer_id = :whose WHERE id = CAST(:id AS uuid)")
    values = {"whose": yours.customer_id, "id": mine.payment_id}
    await refused(database, mine, moved, words="permission denied", **values)

    async with owner.begin(SYSTEM) as tx:
        await tx.execute(text(f"GRANT UPDATE (customer_id) ON payments TO {CUSTOMER}"))
    try:
        await refused(database, mine, moved, **values)
    finally:
        async with owner.begin(SYSTEM) as tx:
            await tx.execute(text(f"REVOKE UPDATE (customer_id) ON payments FROM {CUSTOMER}"))


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE customers SET due_days = 365", "row-level security"),
        ("UPDATE orders SET status = 'COMPLETED'", "row-level security"),
        (
            "INSERT INTO top_ups (id, customer_id, currency, amount, source)"
            " VALUES (gen_random_uuid(), :me, 'KRW', 1, 'BANK_TRANSFER')",
            "row-level security",
        ),
        (
            "INSERT INTO payments (id, payable_type, payable_id, customer_id, currency, method,"
            " wallet_amount, card_amount, gateway, billing_key, status) VALUES"
            " (gen_random_uuid(), 'ORDER', gen_random_uuid(), :me, 'KRW', 'CARD', 0, 1, '', '',"
            " 'COMPLETED')",
            "row-level security",
        ),
        ("UPDATE wallets SET available = 1", "permission denied"),
        ("UPDATE payments SET status = 'COMPLETED'", "permission denied"),
        ("INSERT INTO outbox DEFAULT VALUES", "permission denied"),
        ("INSERT INTO ledger_transactions (key, kind) VALUES ('k', 'k')", "permission denied"),
        ("SELECT FROM usage_identities", "permission denied"),
        ("SELECT FROM dead_letters", "permission denied"),
        ("SELECT actor_id FROM audit_entries", "permission denied"),
        ("SELECT make_usage_partition('2031-05-01')", "permission denied"),
        ("DELETE FROM orders", "permission denied"),
    ],
)
async def test_of_its_own_rows_a_customer_makes_what_its_requests_need(
    database: Database, two: Pair, statement: str, words: str
) -> None:
    """And nothing of what workflows and operators do."""
    mine, _ = two
    async with database.begin(SYSTEM) as tx:
        await tx.execute(
            text("""
                INSERT INTO orders (id, customer_id, currency, lines, amount, status)
                VALUES (gen_random_uuid(), :me, 'KRW', '[]', 1, 'CREATED')
            """),
            {"me": mine.customer_id},
        )
    values = {"me": mine.customer_id} if ":me" in statement else {}
    await refused(database, mine, text(statement), words=words, **values)


async def refused(
    database: Database,
    mine: PaymentRequest,
    statement: Any,
    words: str = "row-level security",
    **values: str,
) -> None:
    with pytest.raises(DBAPIError, match=words):
        async with database.begin(of(mine.customer_id)) as tx:
            await tx.execute(statement, values)


async def test_a_customer_locks_its_own_row(database: Database, two: Pair) -> None:
    mine, yours = two
    async with database.begin(of(mine.customer_id)) as tx:
        assert await customer.lock(tx, mine.customer_id)
        assert not await customer.lock(tx, yours.customer_id)


async def test_a_connection_keeps_a_statement_of_each_role(single: Database) -> None:
    """PostgreSQL throws the plan of a prepared statement away when it comes in another role: the
    system would pay for every customer before it."""
    mine = select(payments.c.id).where(payments.c.id == new_id())
    for scope in (SYSTEM, of("me"), SYSTEM, of("you")):
        async with single.read(scope) as tx:
            await tx.execute(mine)
    kept = text(
        "SELECT statement FROM pg_prepared_statements WHERE statement LIKE 'SELECT payments.id%'"
    )
    async with single.read(SYSTEM) as tx:
        system, customer_s = sorted((await tx.execute(kept)).scalars(), key=len)
    assert customer_s == f"{system} /* of a customer */"


async def ends(tx: Transaction) -> None:
    pass


async def raises(tx: Transaction) -> None:
    raise LookupError


async def fails(tx: Transaction) -> None:
    await tx.execute(text("SELECT 1 / 0"))


async def fails_unnoticed(tx: Transaction) -> None:
    wrong = change.Change("wrong", "wrong AS (SELECT 1)", 2, {})
    assert not await change.tried(tx, wrong)


async def takes_too_long(tx: Transaction) -> None:
    await tx.execute(select(func.pg_sleep(3600)))


async def is_cancelled(tx: Transaction) -> None:
    async with asyncio.timeout(0.05):
        await tx.execute(select(func.pg_sleep(3600)))


async def is_terminated(tx: Transaction) -> None:
    await tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


@pytest.mark.parametrize("way", ["begin", "read", "statements"])
@pytest.mark.parametrize(
    "work",
    [ends, raises, fails, fails_unnoticed, takes_too_long, is_cancelled, is_terminated],
    ids=lambda work: work.__name__,
)
async def test_whoever_has_the_connection_next_is_the_system_again(
    single: Database, way: str, work: Callable[[Transaction], Awaitable[None]]
) -> None:
    """However the transaction of a customer ended."""
    me = text("SELECT current_user, coalesce(current_setting('app.customer', true), '')")
    who = new_customer()
    opened: Opened = getattr(single, way)
    for _ in range(2):
        try:
            async with opened(of(who)) as tx:
                assert (await tx.execute(me)).one() == (CUSTOMER, who)
                await work(tx)
        except (LookupError, DBAPIError, TimeoutError):
            assert work is not ends
        for again in ("begin", "read", "statements"):
            async with getattr(single, again)(SYSTEM) as tx:
                assert (await tx.execute(me)).one() == (APPLICATION, "")


async def test_a_failed_statement_takes_the_whole_of_a_customer_s_with_it(
    database: Database, two: Pair
) -> None:
    """They are one transaction: nothing that was written before is there."""
    mine, _ = two
    claim = Claim("me", "POST /", new_id(), b"hash")
    async with database.statements(of(mine.customer_id)) as tx:
        await idempotency.claim(tx, claim, new_id())
        await fails_unnoticed(tx)
    async with database.begin(SYSTEM) as tx:
        assert await idempotency.find(tx, claim) is None


@pytest.mark.parametrize("way", ["begin", "read"])
async def test_nobody_changes_in_the_midst_of_a_transaction(database: Database, way: str) -> None:
    """What is set after a savepoint stays when that is released."""
    opened: Opened = getattr(database, way)
    with pytest.raises(RuntimeError, match="no savepoints"):
        async with opened(of(new_customer())) as tx, tx.begin_nested():
            pass
    async with opened(SYSTEM) as tx, tx.begin_nested():
        pass


async def test_a_key_tells_nothing_of_whom_its_caller_acted_for_before(
    database: Database, two: Pair
) -> None:
    """One person, two customers: the first one's answer stays the first one's."""
    mine, yours = two
    claim = Claim("issuer/me", "POST /api/v1/payments", new_id(), b"hash")
    async with database.begin(of(mine.customer_id)) as tx:
        made = await idempotency.claim(tx, claim, mine.payment_id)
        await idempotency.store_answer(tx, claim, idempotency.StoredAnswer(201, "secret"))

    async with database.begin(of(mine.customer_id)) as tx:
        again = await idempotency.claim(tx, claim, new_id())
    assert (again.repeated, again.resource_id) == (True, made.resource_id)
    async with database.begin(of(yours.customer_id)) as tx:
        with pytest.raises(KeyReused):
            await idempotency.claim(tx, claim, new_id())
        other = Claim("issuer/you", claim.route, claim.key, claim.request_hash)
        assert not (await idempotency.claim(tx, other, new_id())).repeated
