"""Idempotency keys: one request gets through, every other one learns what became of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, text, update

from domain.access import SYSTEM
from domain.errors import KeyReused
from store import idempotency, tables
from store.database import Database
from store.idempotency import Claim, Claimed, StoredAnswer
from tests.support.conditions import eventually
from tests.support.samples import new_id


def a_claim(key: str | None = None, request_hash: bytes = b"request") -> Claim:
    return Claim("caller-1", "POST /api/v1/payments", key or uuid4().hex, request_hash)


async def claim(database: Database, claimed: Claim, resource_id: str) -> Claimed:
    async with database.begin(SYSTEM) as tx:
        return await idempotency.claim(tx, claimed, resource_id)


async def test_of_16_concurrent_claims_one_is_first_and_all_name_its_resource(
    database: Database,
) -> None:
    wanted = a_claim()

    results = await asyncio.gather(*(claim(database, wanted, new_id()) for _ in range(16)))

    assert [each.repeated for each in results].count(False) == 1
    assert len({each.resource_id for each in results}) == 1


@pytest.mark.parametrize("commits", [True, False])
async def test_a_claim_waits_for_the_transaction_that_has_the_key(
    database: Database, commits: bool
) -> None:
    wanted, first_id, second_id = a_claim(), new_id(), new_id()
    async with database.engine.connect() as first, database.engine.connect() as second:
        await idempotency.claim(first, wanted, first_id)
        pid = await second.scalar(text("SELECT pg_backend_pid()"))
        waiting = asyncio.create_task(idempotency.claim(second, wanted, second_id))

        async def is_blocked() -> bool:
            async with database.engine.connect() as tx:
                blockers = text("SELECT cardinality(pg_blocking_pids(:pid)) > 0")
                return bool(await tx.scalar(blockers, {"pid": pid}))

        await eventually(is_blocked)
        await (first.commit() if commits else first.rollback())
        learned = await waiting
        await second.commit()

    assert learned == (
        Claimed(first_id, repeated=True, answer=None)
        if commits
        else Claimed(second_id, repeated=False, answer=None)
    )


async def test_the_same_key_with_another_request_is_refused(database: Database) -> None:
    first = a_claim()
    await claim(database, first, new_id())

    with pytest.raises(KeyReused):
        await claim(database, a_claim(first.key, b"another request"), new_id())


async def test_callers_and_routes_have_keys_of_their_own(database: Database) -> None:
    first = a_claim()
    others = [
        Claim("caller-2", first.route, first.key, b"another"),
        Claim(first.caller, "POST /api/v1/refunds", first.key, b"another"),
        a_claim(first.key + " "),
        a_claim(first.key.upper() + "x"),
    ]

    claimed = [await claim(database, each, new_id()) for each in (first, *others)]

    assert not any(each.repeated for each in claimed)


async def test_the_first_writer_of_the_answer_wins_and_everybody_reads_it(
    database: Database,
) -> None:
    wanted = a_claim()
    await claim(database, wanted, new_id())

    async def answer(number: int) -> StoredAnswer:
        async with database.begin(SYSTEM) as tx:
            mine = StoredAnswer(200 + number, f'{{"writer":{number}}}')
            return await idempotency.store_answer(tx, wanted, mine)

    kept = await asyncio.gather(*(answer(number) for number in range(16)))

    assert len(set(kept)) == 1
    assert kept[0].body == f'{{"writer":{kept[0].status - 200}}}', "status and body of one writer"
    assert (await claim(database, wanted, new_id())).answer == kept[0]


async def test_a_key_is_found_without_being_taken(database: Database) -> None:
    wanted = a_claim()
    async with database.begin(SYSTEM) as tx:
        assert await idempotency.find(tx, wanted) is None
        assert not (await idempotency.claim(tx, wanted, new_id())).repeated


async def test_the_body_may_expire_and_the_obligation_may_not(
    database: Database, owner: Database
) -> None:
    old, young, resource_id = a_claim(), a_claim(), new_id()
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    for each in (old, young):
        await claim(database, each, resource_id)
        async with database.begin(SYSTEM) as tx:
            await idempotency.store_answer(tx, each, StoredAnswer(201, "{}"))
    keys = tables.idempotency_keys
    async with owner.begin(SYSTEM) as tx:
        aged = update(keys).where(keys.c.key == old.key).values(created_at=long_ago)
        await tx.execute(aged)

    async with database.begin(SYSTEM) as tx:
        assert await idempotency.purge_bodies(tx, long_ago + timedelta(days=1)) == 1
    async with database.begin(SYSTEM) as tx:
        assert await idempotency.purge_bodies(tx, long_ago + timedelta(days=1)) == 0

    assert await claim(database, old, new_id()) == Claimed(resource_id, True, None)
    with pytest.raises(KeyReused):
        await claim(database, a_claim(old.key, b"another"), new_id())
    assert (await claim(database, young, new_id())).answer == StoredAnswer(201, "{}")
    async with database.engine.connect() as tx:
        count = await tx.scalar(func.count(keys.c.key).select().where(keys.c.key == old.key))
    assert count == 1
