"""The audit trail: added with what it tells of, and never changed, whoever asks."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from dev import postgres
from domain.access import SYSTEM, Source
from domain.audit import Action, Actor, ActorType, Entry, Noun
from runtime.settings import Settings
from store import audit
from store.database import Database
from tests.support.audit import an_entry, trail
from tests.support.databases import connected
from tests.support.samples import new_customer, new_id


@pytest.fixture(scope="module")
async def superuser(settings: Settings) -> AsyncIterator[Database]:
    """As the superuser, who may skip ordinary triggers."""
    url = settings.database_owner_url.replace(postgres.OWNER, postgres.SUPERUSER)
    async with connected(url, pool_size=2) as pool:
        yield pool


async def execute(database: Database, statement: str, *, replica: bool = False) -> None:
    async with database.begin(SYSTEM) as tx:
        if replica:
            await tx.execute(text("SET LOCAL session_replication_role = replica"))
        await tx.execute(text(statement))


async def test_an_entry_is_kept_as_it_was_told(database: Database) -> None:
    who = Actor(
        ActorType.USER, "issuer/me", Source("192.0.2.1", "curl/8 카드", "0af7651916cd43dd", "r-1")
    )
    customer_id, id_ = new_customer(), new_id()
    told = Entry(
        who,
        Action.CUSTOMER_CHANGED,
        Noun.CUSTOMER,
        id_,
        customer_id,
        before={"dueDays": 14, "name": None},
        after={"dueDays": 10**12, "name": "카드 ₩", "list": [1, {"a": True}]},
        reason="as agreed",
    )

    async with database.begin(SYSTEM) as tx:
        await audit.append(tx, told, an_entry(id_))

    first, second = await trail(database, target_id=id_)
    assert (first.actor_type, first.actor_id) == ("USER", "issuer/me")
    assert (first.ip, first.user_agent) == ("192.0.2.1", "curl/8 카드")
    assert (first.trace_id, first.request_id) == ("0af7651916cd43dd", "r-1")
    assert (first.action, first.noun, first.target_id) == (told.action, told.noun, id_)
    assert (first.before, first.after) == (told.before, told.after)
    assert (first.customer_id, first.reason) == (customer_id, "as agreed")
    assert (second.before, second.after, second.ip) == (None, None, None)
    assert (first.xid, first.id + 1) == (second.xid, second.id)


async def test_an_entry_goes_with_what_it_tells_of(database: Database) -> None:
    given_up = an_entry()

    async with database.engine.connect() as tx:
        await audit.append(tx, given_up)
        await tx.rollback()

    assert await trail(database, target_id=given_up.target_id) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_entries SET actor_id = 'nobody'",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
        "TRUNCATE audit_seals",
    ],
)
async def test_nobody_changes_it_not_even_a_session_that_skips_triggers(
    owner: Database, superuser: Database, database: Database, change: str
) -> None:
    entry = an_entry()
    async with database.begin(SYSTEM) as tx:
        await audit.append(tx, entry)

    for role, replica in ((owner, False), (superuser, True)):
        with pytest.raises(DBAPIError, match="the audit trail is append-only"):
            await execute(role, change, replica=replica)

    [kept] = await trail(database, target_id=entry.target_id)
    assert kept.actor_id == "somebody"
