"""Dead letters in the database: kept once and whole, moved once, found by their names."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from domain.access import SYSTEM
from domain.dead_letter import (
    DeadLetter,
    LetterSource,
    LetterState,
    NewLetter,
    Wanted,
    from_topic,
    set_aside,
)
from domain.errors import InvalidRequest
from domain.message import MAX_REASON, Message, refused
from store import dead_letter
from store.database import Database
from store.tables import dead_letters
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


async def put(database: Database, group: str, message: Message, error: Exception) -> str | None:
    async with database.begin(SYSTEM) as tx:
        return await dead_letter.put(tx, set_aside(group, refused(message, error)))


async def found(database: Database, id_: str | None) -> DeadLetter:
    assert id_ is not None
    async with database.read(SYSTEM) as tx:
        letter = await dead_letter.find(tx, id_)
    assert letter is not None
    return letter


async def test_every_byte_is_kept_and_the_reason_in_text_that_can_be_stored(
    database: Database,
) -> None:
    id_ = await put(database, new_id(), MESSAGE, ValueError("a NUL \0 and a half \ud800"))

    row = await found(database, id_)
    place = (row.original_topic, row.partition, row.offset, row.timestamp)
    assert place == (MESSAGE.topic, MESSAGE.partition, MESSAGE.offset, MESSAGE.timestamp)
    assert (row.key, row.headers, row.payload) == (MESSAGE.key, MESSAGE.headers, MESSAGE.value)
    why = (row.error_class, row.failure_reason)
    assert why == ("ValueError", "a NUL \\x00 and a half \\ud800")
    assert (row.message_id, row.called, row.state) == (None, row.id, "OPEN")


async def test_a_message_without_anything_is_kept_too(database: Database) -> None:
    nothing = replace(MESSAGE, key=None, headers=(), value=None)

    row = await found(database, await put(database, new_id(), nothing, InvalidRequest("")))

    assert (row.key, row.headers, row.payload) == (None, (), None)
    assert (row.error_class, row.failure_reason) == ("invalid-request", "")


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({}, False),
        ({"value": b"another"}, True),
        ({"topic": "another"}, True),
        ({"partition": 3}, True),
        ({"offset": 3}, True),
        ({"timestamp": 3}, True),
    ],
    ids=repr,
)
async def test_one_message_is_kept_once_for_a_consumer(
    database: Database, change: dict[str, Any], new: bool
) -> None:
    group = new_id()
    small = replace(MESSAGE, value=b"1")
    assert await put(database, group, small, ValueError("first"))

    again = await put(database, group, replace(small, **change), ValueError("again"))

    assert (again is not None) is new
    assert await put(database, new_id(), small, ValueError("for another consumer"))


def on_topic(message: Message, group: str, offset: int) -> Message:
    """What spring-kafka, and our consumer of usage, make of a message that was given up."""
    headers = (
        *message.headers,
        ("kafka_dlt-original-topic", message.topic.encode()),
        ("kafka_dlt-original-partition", message.partition.to_bytes(4, "big")),
        ("kafka_dlt-original-offset", message.offset.to_bytes(8, "big")),
        ("kafka_dlt-original-timestamp", message.timestamp.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-consumer-group", group.encode()),
    )
    topic, now = f"{message.topic}.DLT", 1_780_000_000_000
    return replace(message, topic=topic, offset=offset, timestamp=now, headers=headers)


async def test_what_stands_on_a_topic_and_was_set_aside_too_is_one_letter(
    database: Database,
) -> None:
    group = new_id()
    assert await put(database, group, MESSAGE, ValueError("it was sent, and not acknowledged"))

    async with database.begin(SYSTEM) as tx:
        for offset in (7, 8):
            letter = from_topic(on_topic(MESSAGE, group, offset))
            assert await dead_letter.put(tx, letter) is None


async def test_a_place_names_the_newest_letter_and_an_id_each(database: Database) -> None:
    topic = f"billing.test.{uuid4().hex}.DLT"
    ids = []
    for timestamp in (1, 2):
        message = Message(topic, 0, 42, timestamp, None, (), b"1")
        async with database.begin(SYSTEM) as tx:
            ids.append(await dead_letter.put(tx, from_topic(message)))

    newest = await found(database, f"{topic}:0:42")
    assert newest.id == ids[1]
    assert (await found(database, ids[0])).called == f"{topic}:0:42"


async def test_a_letter_moves_once_and_never_back(database: Database, owner: Database) -> None:
    id_ = await put(database, new_id(), MESSAGE, ValueError())
    assert id_ is not None
    moves = []
    for after in (LetterState.DISCARDED, LetterState.REPLAYING):
        async with database.begin(SYSTEM) as tx:
            moves.append(
                await dead_letter.move(tx, id_, LetterState.OPEN, after, "why", "somebody")
            )

    row = await found(database, id_)
    assert moves == [True, False]
    assert (row.state, row.state_reason, row.state_actor) == ("DISCARDED", "why", "somebody")
    reopening = update(dead_letters).where(dead_letters.c.id == id_).values(state="OPEN")
    async with owner.begin(SYSTEM) as tx:
        with pytest.raises(DBAPIError, match="is DISCARDED for good"):
            await tx.execute(reopening)


def our_own(reason: str = "no price list") -> NewLetter:
    reference = f"settlement/{new_id()}/2026-05"
    return NewLetter(LetterSource.SETTLEMENT, "SETTLEMENT_FAILED", reason, b"{}", reference)


async def test_a_thing_of_our_own_has_one_letter_that_says_why_it_failed_last(
    database: Database,
) -> None:
    letter = our_own()
    ids = []
    for reason in ("no price list", "no price list", "no currency"):
        async with database.begin(SYSTEM) as tx:
            ids.append(await dead_letter.bury(tx, replace(letter, failure_reason=reason)))

    row = await found(database, ids[0])
    assert ids[1:] == [None, None]
    assert (row.failure_reason, row.state) == ("no currency", "OPEN")


async def test_what_was_replayed_in_vain_comes_back_as_another_letter(database: Database) -> None:
    letter = our_own()
    async with database.begin(SYSTEM) as tx:
        first = await dead_letter.bury(tx, letter)
        assert first is not None
        await dead_letter.move(tx, first, LetterState.OPEN, LetterState.REPLAYING)
    async with database.begin(SYSTEM) as tx:
        second = await dead_letter.bury(tx, letter)
        assert await dead_letter.bury(tx, letter) is None, "a step may run twice"

    before, after = await found(database, first), await found(database, second)
    assert (before.state, after.state) == ("REPLAYED", "OPEN")
    assert (after.replay_of, after.retry_count) == (first, 1)


@pytest.mark.parametrize(
    ("stood", "ends"), [(LetterState.OPEN, "RESOLVED"), (LetterState.REPLAYING, "REPLAYED")]
)
async def test_what_is_in_order_again_waits_no_more(
    database: Database, stood: LetterState, ends: str
) -> None:
    letter = our_own()
    assert letter.reference is not None
    async with database.begin(SYSTEM) as tx:
        id_ = await dead_letter.bury(tx, letter)
        assert id_ is not None
        await dead_letter.move(tx, id_, LetterState.OPEN, stood)
        for _ in range(2):
            await dead_letter.resolve(tx, letter.reference)

    assert (await found(database, id_)).state == ends


async def test_messages_are_counted_until_somebody_decides(database: Database) -> None:
    group = new_id()
    ids = [
        await put(database, group, replace(MESSAGE, offset=offset, value=b""), ValueError())
        for offset in range(3)
    ]
    async with database.begin(SYSTEM) as tx:
        assert (await dead_letter.count_waiting(tx))[group] == 3
        await dead_letter.move(tx, ids[0] or "", LetterState.OPEN, LetterState.DISCARDED)

    async with database.read(SYSTEM) as tx:
        assert (await dead_letter.count_waiting(tx))[group] == 2


async def test_each_filter_leaves_out_what_it_does_not_mean(database: Database) -> None:
    customer_id = f"c-{uuid4().hex}"
    at = datetime(2026, 5, 17, 8, tzinfo=UTC)
    letter = replace(
        set_aside(new_id(), refused(MESSAGE, ValueError())),
        customer_id=customer_id,
        occurred_at=at,
        dlt_topic="billing.usage.DLT",
    )
    async with database.begin(SYSTEM) as tx:
        id_ = await dead_letter.put(tx, letter)
    mine = Wanted(customer_id=customer_id)
    later = at.replace(hour=9)
    takes = [
        replace(mine, source=LetterSource.USAGE),
        replace(mine, topic="billing.usage"),
        replace(mine, topic="billing.usage.DLT"),
        replace(mine, consumer_group=letter.consumer_group),
        replace(mine, since=at, until=later),
        replace(mine, error_class="ValueError"),
    ]
    leaves = [
        Wanted(customer_id="c-another", consumer_group=letter.consumer_group),
        replace(mine, source=LetterSource.ORDER),
        replace(mine, topic="billing.usage.DL"),
        replace(mine, consumer_group="another"),
        replace(mine, since=later),
        replace(mine, until=at),
        replace(mine, error_class="KeyError"),
    ]
    async with database.read(SYSTEM) as tx:
        taken = [await dead_letter.listed(tx, each, LetterState.OPEN, None, 9) for each in takes]
        left = [await dead_letter.listed(tx, each, LetterState.OPEN, None, 9) for each in leaves]
        replayed = await dead_letter.listed(tx, mine, LetterState.REPLAYED, None, 9)

    assert [[row.id for row in page.items] for page in taken] == [[id_]] * len(takes)
    assert [page.items for page in left] == [[]] * len(leaves)
    assert replayed.items == []


def test_a_reason_has_an_end() -> None:
    assert len(refused(MESSAGE, ValueError("x" * 10**6)).reason) == MAX_REASON
