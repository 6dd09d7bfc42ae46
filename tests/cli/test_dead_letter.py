"""`billing dead-letter`: messages that no consumer could take, beside what is owed."""

import base64
import random

import orjson

from domain.access import SYSTEM
from domain.errors import InvalidRequest
from domain.message import Message, refused
from store import dead_message
from store.database import Database
from tests.cli.conftest import Command

VALUE = b"\xff\x00[bold]" + b"x" * 1_000


async def test_a_message_is_listed_with_its_bytes_and_resolved(
    command: Command, database: Database
) -> None:
    headers = (("twice", b"\xff"), ("twice", None))
    place = ("billing.usage", 3, random.getrandbits(60))
    message = Message(*place, 1_780_000_000_000, b"\xfe", headers, VALUE)
    async with database.begin(SYSTEM) as tx:
        why = InvalidRequest("It is [red] JSON.\nNot.")
        await dead_message.put(tx, "billing-usage", refused(message, why))
        [row] = [row for row in await dead_message.waiting(tx) if row.message == message]

    listed = await command("dead-letter", "list")
    as_json = await command("dead-letter", "list", "--json")
    first = await command("dead-letter", "resolve", row.id)
    again = await command("dead-letter", "resolve", row.id)

    assert f"message {row.id} for billing-usage, waits for" in listed.output
    assert f"billing.usage, partition 3, offset {message.offset}" in listed.output
    assert "It is [red] JSON. (invalid-request)" in listed.output
    assert r"1,008 bytes: '\\xff\x00[bold]xxx" in listed.output
    assert f"billing dead-letter resolve {row.id}" in listed.output
    [document] = [each for each in orjson.loads(as_json.stdout) if each["id"] == row.id]
    assert document["reference"] == f"billing.usage:3:{message.offset}"
    assert document["body"] == {
        "consumer": "billing-usage",
        "error": "invalid-request",
        "timestamp": 1_780_000_000_000,
        "key": "/g==",
        "headers": [{"name": "twice", "value": "/w=="}, {"name": "twice", "value": None}],
        "value": base64.b64encode(VALUE).decode(),
    }
    assert first.stdout == f"The dead letter {row.id} is resolved.\n"
    assert again.stdout == f"The dead letter {row.id} was resolved before.\n"
    assert row.id not in (await command("dead-letter", "list")).output
