"""`billing dead-letter`: what could not be done or taken, and what an operator makes of it."""

import random
from dataclasses import replace

import orjson
import pytest

from cli.calling import Missing
from cli.refused import Refused
from domain.access import SYSTEM
from domain.dead_letter import set_aside
from domain.errors import InvalidRequest
from domain.message import Message, refused
from store import dead_letter
from store.database import Database
from tests.cli.conftest import Command
from tests.support.letters import many
from tests.support.samples import new_customer

NONE_SUCH = "00000000-0000-7000-8000-000000000000"
VALUE = b"\xff\x00[bold]" + b"x" * 1_000


async def put(database: Database, customer_id: str | None = None) -> str:
    headers = (("twice", b"\xff"), ("twice", None))
    place = ("billing.usage", 3, random.getrandbits(60))
    message = Message(*place, 1_780_000_000_000, b"\xfe", headers, VALUE)
    why = InvalidRequest("It is [red] JSON.\nNot.")
    letter = replace(set_aside("billing-usage", refused(message, why)), customer_id=customer_id)
    async with database.begin(SYSTEM) as tx:
        id_ = await dead_letter.put(tx, letter)
    assert id_ is not None
    return id_


async def test_a_message_is_listed_and_shown_with_its_bytes(
    command: Command, database: Database
) -> None:
    customer_id = new_customer()
    id_ = await put(database, customer_id=customer_id)

    listed = await command("dead-letter", "list", "--customer", customer_id)
    shown = await command("dead-letter", "show", id_)
    as_json = await command("dead-letter", "show", id_, "--json")

    [row] = listed.stdout.splitlines()[1:]
    assert row.split()[1:4] == ["USAGE", "OPEN", customer_id]
    assert row.endswith("It is [red] JSON. Not."), "a letter is a line"
    assert "billing.usage, partition 3, offset" in shown.stdout
    assert f"billing dead-letter show|replay|discard {row.split()[0]}" in shown.stdout
    assert "1,008 bytes, as base64:" in shown.stdout
    document = orjson.loads(as_json.stdout)
    assert (document["payloadEncoding"], document["errorClass"]) == ("base64", "invalid-request")


async def test_nothing_in_a_message_looks_like_a_line_of_ours(
    command: Command, database: Database
) -> None:
    forged = b"fine\nbilling: The money is right.\x1b[2J\r  of acme-corp"
    message = Message(
        "billing.usage",
        3,
        random.getrandbits(60),
        1_780_000_000_000,
        b"k",
        (("h", forged),),
        forged,
    )
    letter = set_aside("billing-usage", refused(message, InvalidRequest(forged.decode())))
    async with database.begin(SYSTEM) as tx:
        id_ = await dead_letter.put(tx, letter)

    shown = await command("dead-letter", "show", str(id_))

    lines = shown.stdout.splitlines()
    assert "  h: fine billing: The money is right.[2J   of acme-corp" in lines
    payload = lines[lines.index(f"  {len(forged)} bytes, as text:") + 1 :]
    assert payload == ["  | fine", "  | billing: The money is right.[2J", "  |   of acme-corp"]
    assert not [each for each in lines if each.startswith(("billing:", "  of acme-corp"))]
    assert "\x1b" not in shown.stdout


async def test_a_letter_is_discarded_once_and_gone_from_the_list(
    command: Command, database: Database
) -> None:
    customer_id = new_customer()
    id_ = await put(database, customer_id=customer_id)

    first = await command("dead-letter", "discard", "--yes", id_, "--reason", "as agreed")
    again = await command("dead-letter", "replay", "--yes", id_)

    assert first.stdout == f"The dead letter {id_} is DISCARDED.\n"
    assert str(again.exception) == "It is DISCARDED already."
    listed = await command("dead-letter", "list", "--customer", customer_id)
    assert (listed.stdout, listed.stderr) == ("", "No dead letters.\n")
    gone = await command("dead-letter", "list", "--customer", customer_id, "--state", "DISCARDED")
    assert f"DISCARDED  {customer_id}" in gone.stdout


async def test_many_are_counted_before_anything_is_done(
    command: Command, database: Database, settlements: None
) -> None:
    customer_id = new_customer()
    ids = await many(database, 12, customer_id=customer_id)
    words = ("dead-letter", "bulk-discard", "--customer", customer_id, "--reason", "as agreed")

    counted = await command(*words, "--dry-run")
    alone = await command(*words)
    started = await command(*words, "--yes")
    job_id = started.stdout.split()[-2]
    ended = await command("dead-letter", "job", job_id, "--watch")
    refused = await command("dead-letter", "job", job_id, "--pause")

    assert "12 letters would be given up; the oldest:" in counted.stdout
    assert str(alone.exception).startswith("Nobody is here to be asked: say --yes")
    assert ids[0] not in counted.stdout, "a letter is called by its place"
    assert "12 letters: billing dead-letter job" in started.stdout
    assert ended.stdout.splitlines()[-1] == (
        "DISCARD SUCCEEDED: 12 of 12, 12 done, 0 failed, 0 came back"
    )
    assert str(refused.exception) == "The job is SUCCEEDED."


async def test_what_came_is_counted(command: Command, database: Database) -> None:
    customer_id = new_customer()
    await put(database, customer_id=customer_id)

    told = await command("dead-letter", "stats", "--source", "USAGE")

    assert f"whose {customer_id}: 1" in told.stdout
    assert "about USAGE" in told.stdout


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("show", "nonsense"), Refused),
        (("show", "billing.usage.DLT:0:99999999999"), Missing),
        (("replay", NONE_SUCH, "--yes"), Missing),
        (("job", "nonsense"), Refused),
        (("job", NONE_SUCH), Missing),
        (("job", NONE_SUCH, "--pause", "--resume"), Refused),
        (("stats", "--bucket", "1h"), Refused),
        (("bulk-replay", "--yes"), Refused),
    ],
    ids=str,
)
async def test_what_means_nothing_is_refused_in_a_sentence(
    command: Command, words: tuple[str, ...], kind: type[Exception]
) -> None:
    told = await command("dead-letter", *words)

    assert isinstance(told.exception, kind)
    assert str(told.exception).endswith(".")
