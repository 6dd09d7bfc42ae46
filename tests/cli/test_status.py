"""`billing status`: one screen that says whether anything is wrong, and an exit code."""

import asyncio
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text
from typer.testing import Result

import cli.status
from cli.main import INTERRUPTED
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
from tests.support.commands import parse
from tests.support.conditions import eventually
from tests.support.databases import connected
from tests.support.installations import installation, told, worker
from tests.support.local_server import Request, Response, local_server
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


async def test_every_command_that_is_named_is_one_that_can_be_typed(
    command: Command, alone: Settings
) -> None:
    document = orjson.loads((await asked(command, alone, "--json")).stdout)

    looks = {each["what"]: each["look"] for each in document["piles"]}

    assert looks["payments UNKNOWN"] == "billing payment list --status UNKNOWN"
    for look in looks.values():
        billing, *words = shlex.split(look)
        assert billing == "billing"
        await asyncio.to_thread(parse, words)


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
    assert "KafkaError" not in wrong["Kafka"], "words for a person"
    assert document["piles"]
    assert document["queues"] == []


async def test_a_database_that_answers_and_is_slow_is_not_said_to_be_down(
    command: Command, alone: Settings
) -> None:
    await temporal.connect_when_ready(alone)
    async with connected(alone.database_owner_url) as owner, owner.begin(SYSTEM) as tx:
        await tx.execute(text("LOCK TABLE payments IN ACCESS EXCLUSIVE MODE"))
        ran = await asked(command, alone)

    assert ran.exit_code == 1
    assert "  what waits: cannot be counted: no answer within 1.5 s." in ran.stdout
    assert "PostgreSQL: " not in ran.stdout


async def test_an_api_that_takes_connections_and_says_nothing_is_not_waited_for(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.status, "ANSWER_SECONDS", 0.1)
    async with silence() as silent:
        ran = await command("status", BILLING_API_URL=f"http://{silent}")

    assert ran.exit_code == 1
    assert str(ran.exception).startswith("The API gave no answer within 0.1 s: see its log")


async def test_where_no_api_answers_it_ends_with_1(command: Command) -> None:
    ran = await command("status", BILLING_API_URL=f"http://127.0.0.1:{closed_port()}")

    assert ran.exit_code == 1
    assert "Nothing answers at" in str(ran.exception)


async def test_who_watches_outlasts_an_api_that_is_away(tmp_path: Path) -> None:
    well = {
        "ok": True,
        "forAPerson": [],
        "at": None,
        "money": None,
        "parts": [],
        "queues": [],
        "gateways": [],
        "piles": [
            {
                "what": "payments UNKNOWN",
                "count": 6,
                "oldestSeconds": 240,
                "forAPerson": False,
                "look": "billing payment list --status UNKNOWN",
            }
        ],
    }
    answers = [Response(200, well), Response(500, "down", "text/plain"), Response(200, well)]
    asked: list[Request] = []

    async def status(request: Request) -> Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    async with local_server(status) as url:
        watching = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", "status", "--watch"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=process.python_environment() | {"BILLING_API_URL": url, "HOME": str(tmp_path)},
        )

        async def is_back() -> bool:
            return watching.returncode is not None or len(asked) > len(answers)

        await eventually(is_back)
        watching.send_signal(signal.SIGINT)
        stdout, stderr = (each.decode() for each in await watching.communicate())

    assert watching.returncode == INTERRUPTED
    assert "answers with status 500: it may not be the API. Looking again ...\n" in stderr
    unknown = "6  payments UNKNOWN, the oldest for 4 min: billing payment list --status UNKNOWN\n"
    assert stdout.count(unknown) >= 2
