"""`billing status`: one screen that says whether anything is wrong, and an exit code."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from typer.testing import Result

from dev import process, valkey
from domain.access import SYSTEM
from domain.dead_letter import LetterSource, NewLetter
from runtime import temporal
from runtime.settings import Settings
from runtime.version import VERSION
from service import verification
from store import dead_letter, wallet
from tests.api.documents import closed_port
from tests.cli.conftest import Command
from tests.support.cables import silence
from tests.support.conditions import eventually
from tests.support.databases import connected
from tests.support.installations import installation, told, worker
from tests.support.samples import new_customer, new_id
from workflows import policies
from workflows.verification import Verification


@pytest.fixture
async def alone(settings: Settings) -> AsyncIterator[Settings]:
    async with installation(settings) as own:
        yield own


async def asked(command: Command, settings: Settings, *more: str, **others: str) -> Result:
    return await command("--direct", "status", *more, **{**told(settings), **others})


async def test_where_all_is_well_it_names_every_part_and_ends_with_0(
    command: Command, alone: Settings
) -> None:
    async with worker(alone):

        async def is_well() -> bool:
            return (await asked(command, alone)).exit_code == 0

        await eventually(is_well)
        ran = await asked(command, alone)
        document = orjson.loads((await asked(command, alone, "--json")).stdout)

    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[-1] == "Nothing waits for a person."
    parts = {each["name"]: each for each in document["parts"]}
    assert parts["API"]["version"] == VERSION
    assert parts.keys() == {
        *("API", "PostgreSQL", "Temporal", "Redis", "Kafka"),
        *("relay", "figures", "consumers"),
    }
    for name in ("PostgreSQL", "Temporal", "Redis", "Kafka"):
        assert parts[name]["version"]
        assert parts[name]["version"] in ran.stdout
    assert {each["name"] for each in document["queues"]} == {
        *(policies.PAYMENTS, policies.SETTLEMENT, policies.OUTBOX, policies.VERIFICATION),
    }
    assert all(len(each["workers"]) == 1 for each in document["queues"])
    assert document["ok"] is True
    assert document["forAPerson"] == []


async def test_without_a_worker_it_says_what_nobody_does(command: Command, alone: Settings) -> None:
    await temporal.connect_when_ready(alone)

    ran = await asked(command, alone)

    assert ran.exit_code == 1
    assert "Nobody polls the task queue payments: start a worker." in ran.stdout
    assert "relay: it does not run, so no event is published." in ran.stdout
    assert "consumers: no worker serves them, so what comes from Kafka waits." in ran.stdout


async def test_what_waits_for_a_person_is_named_with_the_command_that_shows_it(
    command: Command, alone: Settings
) -> None:
    async with connected(alone.database_url) as database, database.begin(SYSTEM) as tx:
        letter = NewLetter(
            LetterSource.SETTLEMENT, "SETTLEMENT_FAILED", "no price list", b"{}", new_id()
        )
        await dead_letter.put(tx, letter)

    ran = await asked(command, alone)

    assert ran.exit_code == 1
    assert "dead letters: 1. See `billing dead-letter list`." in ran.stdout


async def test_money_that_was_found_wrong_is_for_a_person(
    command: Command, alone: Settings
) -> None:
    async with connected(alone.database_url) as database, database.begin(SYSTEM) as tx:
        await wallet.credit(tx, new_customer(), "KRW", 300)
    client = await temporal.connect_when_ready(alone)
    async with worker(alone):
        await client.execute_workflow(Verification.run, id="now", task_queue=policies.VERIFICATION)

        async def is_remembered() -> bool:
            return await verification.last(client) is not None

        await eventually(is_remembered)
        ran = await asked(command, alone)

    assert ran.exit_code == 1
    # Of the PG's book, which is everybody's, it knows no payment either: so how many is not asked.
    assert "The money is not right: the last look found violations" in ran.stdout
    assert "in all. See `billing verify`." in ran.stdout


async def test_parts_that_are_down_are_named_and_the_others_are_told(
    command: Command, alone: Settings, tmp_path: Path
) -> None:
    port = process.free_port()
    server = valkey.start(tmp_path, port)
    process.wait_until_ready([server])
    process.stop([server])
    async with silence() as silent:
        ran = await asked(
            command,
            alone,
            "--json",
            REDIS_URL=valkey.url(port),
            KAFKA_BOOTSTRAP_SERVERS=silent,
            TEMPORAL_ADDRESS=f"127.0.0.1:{closed_port()}",
        )

    document = orjson.loads(ran.stdout)
    wrong = {each["name"]: each["wrong"] for each in document["parts"]}
    assert ran.exit_code == 1
    assert wrong["PostgreSQL"] is None
    assert all(wrong[name] for name in ("Redis", "Kafka", "Temporal"))
    assert document["piles"]
    assert document["queues"] == []


async def test_where_no_api_answers_it_ends_with_1(command: Command) -> None:
    ran = await command("status", BILLING_API_URL=f"http://127.0.0.1:{closed_port()}")

    assert ran.exit_code == 1
    assert "Nothing answers at" in str(ran.exception)
