"""The consumer of dead letters: every topic of them is kept, our own events find their letter."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from confluent_kafka import Consumer

from domain.access import SYSTEM
from domain.dead_letter import LetterSource, NewLetter
from domain.event import Event, Origin, Topic
from runtime.dead_letter_consumer import take, topics
from runtime.settings import Settings
from store import dead_letter, outbox
from tests.support.conditions import eventually
from tests.support.letters import Letters, letters_on
from tests.support.relays import relay_bed
from tests.support.samples import new_customer, new_id

NOTICE = Topic.OVERDUE_NOTICE_DLT


@pytest.fixture(scope="module")
async def letters(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Letters]:
    async with (
        relay_bed(settings, tmp_path_factory.mktemp("consumer")) as bed,
        letters_on(bed) as made,
    ):
        yield made


async def test_a_topic_that_is_made_later_is_followed_too(letters: Letters) -> None:
    called = await letters.send("billing.pg-webhook.received.DLT", b"a hint")

    assert (await letters.get(f"/{called}"))["source"] == "PG_WEBHOOK"


async def test_what_is_no_topic_of_ours_is_not_read(letters: Letters) -> None:
    await letters.send("billing.usage.DLT", b"ours")
    kafka = {**letters.settings.kafka, "group.id": new_id()}
    consumer = Consumer(kafka)
    try:
        found = topics(consumer)
    finally:
        consumer.close()
    assert {"billing.usage.DLT", NOTICE} <= set(found)
    assert not [each for each in found if not each.endswith(".DLT")]


async def an_invoice_given_up(letters: Letters) -> tuple[str, str]:
    """The ids of the letter and of the invoice; its event waits in the outbox."""
    invoice_id, customer_id = new_id(), new_customer()
    letter = NewLetter(
        LetterSource.INVOICE,
        "UNCOLLECTIBLE",
        "nobody pays",
        b'{"total": 1}',
        f"invoice/{invoice_id}",
        customer_id=customer_id,
    )
    async with letters.database.begin(SYSTEM) as tx:
        id_ = await dead_letter.bury(tx, letter)
        assert id_ is not None
        event = Event(NOTICE, invoice_id, customer_id, {"total": 1}, Origin(), id_)
        await outbox.append(tx, event)
    return id_, invoice_id


async def test_our_own_event_gives_its_letter_a_place_and_makes_none(letters: Letters) -> None:
    id_, invoice_id = await an_invoice_given_up(letters)

    async def has_a_place() -> bool:
        return (await letters.get(f"/{id_}"))["dltTopic"] is not None

    await eventually(has_a_place)
    found = await letters.get(f"/{id_}")
    assert found["messageId"].startswith(f"{NOTICE}:")
    assert (found["key"], found["payload"]) == (invoice_id, '{"total": 1}')
    assert (await letters.get(f"/{found['messageId']}"))["id"] == id_
    same = await letters.get(customerId=found["customerId"])
    assert [each["id"] for each in same["items"]] == [id_]


async def test_an_event_that_comes_again_is_no_letter(letters: Letters) -> None:
    id_, invoice_id = await an_invoice_given_up(letters)

    async def there() -> bool:
        found = [each for each in await letters.messages(NOTICE) if each.key == invoice_id.encode()]
        return bool(found)

    await eventually(there)
    [message] = [each for each in await letters.messages(NOTICE) if each.key == invoice_id.encode()]
    for offset in (1_000, 1_001):
        await take(letters.database, [replace(message, offset=offset)])

    listed = await letters.get(topic=NOTICE, size=200)
    assert [each["id"] for each in listed["items"] if each["key"] == invoice_id] == [id_]


async def test_what_others_put_there_is_a_letter_and_moves_none_of_ours(letters: Letters) -> None:
    """Not even with the id of a letter that is about a message."""
    called = await letters.send("billing.usage.DLT", b"usage", key=b"of another")
    usage = await letters.get(f"/{called}")

    forged = await letters.send(
        NOTICE, b"forged", (("ce_id", usage["id"].encode()),), b"\xff", partition=2
    )

    assert await letters.get(f"/{called}") == usage
    assert (await letters.get(f"/{forged}"))["reference"] is None
