"""Messages that were set aside: kept once and whole, waiting until somebody has seen to them."""

from dataclasses import replace
from typing import Any

import pytest

from domain.access import SYSTEM
from domain.errors import InvalidRequest
from domain.message import MAX_REASON, Message, refused
from store import dead_message
from store.database import Database
from tests.support.samples import new_id

MESSAGE = Message(
    topic="billing.usage",
    partition=11,
    offset=2**62,
    timestamp=-(2**63),
    key=b"\xff\x00",
    headers=(("twice", b"\x00\xff"), ("twice", None), ("", b"")),
    value=b"\x00\xff" * 500_000,
)


async def put(database: Database, consumer: str, message: Message, error: Exception) -> bool:
    async with database.begin(SYSTEM) as tx:
        return await dead_message.put(tx, consumer, refused(message, error))


async def test_every_byte_is_kept_and_the_reason_in_text_that_can_be_stored(
    database: Database,
) -> None:
    consumer = new_id()
    assert await put(database, consumer, MESSAGE, ValueError("a NUL \0 and a half \ud800"))

    async with database.engine.connect() as tx:
        [row] = [row for row in await dead_message.waiting(tx) if row.consumer == consumer]
    assert row.message == MESSAGE
    assert (row.error, row.reason) == ("ValueError", "a NUL \\x00 and a half \\ud800")


async def test_a_message_without_anything_is_kept_too(database: Database) -> None:
    consumer = new_id()
    nothing = replace(MESSAGE, key=None, headers=(), value=None)
    assert await put(database, consumer, nothing, InvalidRequest(""))

    async with database.engine.connect() as tx:
        [row] = [row for row in await dead_message.waiting(tx) if row.consumer == consumer]
    assert row.message == nothing
    assert (row.error, row.reason) == ("invalid-request", "")


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({}, False),
        ({"value": b"another"}, False),
        ({"topic": "another"}, True),
        ({"partition": 3}, True),
        ({"offset": 3}, True),
        ({"timestamp": 3}, True),
    ],
    ids=repr,
)
async def test_one_place_is_kept_once_for_a_consumer(
    database: Database, change: dict[str, Any], new: bool
) -> None:
    consumer = new_id()
    small = replace(MESSAGE, value=b"1")
    assert await put(database, consumer, small, ValueError("first"))

    assert await put(database, consumer, replace(small, **change), ValueError("again")) is new
    assert await put(database, new_id(), small, ValueError("for another consumer"))


async def test_it_is_counted_until_it_is_resolved(database: Database) -> None:
    consumer = new_id()
    for offset in range(3):
        await put(database, consumer, replace(MESSAGE, offset=offset, value=b""), ValueError())
    async with database.begin(SYSTEM) as tx:
        rows = [row for row in await dead_message.waiting(tx) if row.consumer == consumer]
        assert [row.message.offset for row in rows] == [0, 1, 2]
        assert (await dead_message.count_waiting(tx))[consumer] == 3

    resolved = []
    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
            resolved.append(await dead_message.resolve(tx, rows[0].id))

    async with database.engine.connect() as tx:
        assert (await dead_message.count_waiting(tx))[consumer] == 2
        assert await dead_message.find(tx, rows[0].id) is not None
    assert resolved == [True, False]


def test_a_reason_has_an_end() -> None:
    assert len(refused(MESSAGE, ValueError("x" * 10**6)).reason) == MAX_REASON
