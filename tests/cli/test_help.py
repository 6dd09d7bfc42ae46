"""Each command explains itself, ends with an example that is true, and completes in a shell."""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import OPERATORS, app
from tests.cli.test_main import environment
from tests.support.commands import every_command, listing, parse
from tests.support.conditions import PATIENCE_SECONDS
from tests.support.threads import beside_the_loop

COMMANDS: dict[str, Any] = dict(every_command())
ENDINGS = (".", ";")
HEAVY = ("api.app", "fastapi", "sqlalchemy", "temporalio", "cli.invoice")
SERVERS = {"alembic", "asyncpg", "confluent_kafka", "fastapi", "redis", "sqlalchemy", "temporalio"}
"""Libraries of whoever serves; to import them takes longer than the API takes to answer."""
PAST_THE_API = {"auth", "deploy", "doctor", "outbox", "restore", "user", "verify"}
"""Groups that look at the servers themselves."""
ID = "019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11"
ASK = {
    "login": "login --issuer http://127.0.0.1:1",
    "whoami": "whoami",
    "status": "status",
    "payment": "payment list",
    "order": "order list",
    "refund": "refund list",
    "customer": "customer list",
    "wallet": "wallet list",
    "plan": "plan list",
    "coupon": "coupon list",
    "webhook": "webhook list",
    "review": "review list",
    "gateway": "gateway list",
    "settlement": "settlement failed 2026-05",
    "invoice": f"invoice explain {ID}",
    "proposal": "proposal list",
    "dead-letter": "dead-letter list",
    "usage": "usage list",
    "audit": "audit list",
    "key": "key list",
}
"""One command of every group that asks the API; `logout` asks nobody where nobody is logged in."""


@pytest.mark.parametrize("name", COMMANDS)
@beside_the_loop
def test_every_command_explains_itself_and_ends_with_its_example(name: str) -> None:
    shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"})

    assert shown.exit_code == 0
    usage, explained = shown.output.split("Usage: ")[1].split("\n", 1)
    assert usage.startswith(f"billing {name}")
    assert explained.split("╭")[0].strip().endswith(ENDINGS)
    assert shown.output.strip().splitlines()[-1].strip().startswith(f"Example: billing {name}")


@pytest.mark.parametrize("name", COMMANDS)
@beside_the_loop
def test_every_example_is_one_that_the_command_takes(name: str) -> None:
    assert COMMANDS[name].epilog is not None, "an example"
    words = shlex.split(COMMANDS[name].epilog.removeprefix("Example: "))

    parsed = parse(words[1:])

    assert words[0] == "billing"
    assert parsed == name


@beside_the_loop
def test_what_is_said_of_a_group_is_what_it_says_of_itself() -> None:
    said = {
        name: import_module(f"cli.{name.replace('-', '_')}").app.info.help for name in OPERATORS
    }
    assert said == OPERATORS


@beside_the_loop
def test_every_list_has_the_options_of_lists() -> None:
    plural = r" (list|failed|stock|stuck|keys|lineage|transactions)$"
    lists = {name for name in COMMANDS if re.search(plural, name)}
    assert lists == listing()


@beside_the_loop
def test_what_shows_one_thing_has_json() -> None:
    shows = [name for name in COMMANDS if re.search(r" (show|explain|report|stats|job)$", name)]
    assert len(shows) > 6
    for name in (*shows, "invoice verify", "settlement run", "whoami", "verify"):
        assert "--json" in [word for each in COMMANDS[name].params for word in each.opts], name


def completed(words: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """What a bash would offer behind these words."""
    asked = {
        "_BILLING_COMPLETE": "complete_bash",
        "COMP_WORDS": f"billing {words}",
        "COMP_CWORD": str(words.count(" ") + 1),
    }
    return subprocess.run(
        [sys.executable, "-X", "importtime", str(Path(sys.executable).with_name("billing"))],
        capture_output=True,
        text=True,
        cwd=home,
        env=environment(**asked),
        timeout=PATIENCE_SECONDS,
    )


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("inv", ["invoice"]),
        ("dead", ["dead-letter"]),
        ("invoice wr", ["write-off"]),
        ("payment list --status NEEDS", ["NEEDS_REVIEW"]),
        ("usage void --y", ["--yes"]),
    ],
)
@beside_the_loop
def test_a_shell_completes_commands_options_and_states(
    tmp_path: Path, words: str, offered: list[str]
) -> None:
    told = completed(words, tmp_path)

    assert told.stdout.split() == offered
    said = [line for line in told.stderr.splitlines() if not line.startswith("import time:")]
    assert said == [], "nothing is printed between the lines of whoever types"


@beside_the_loop
def test_the_names_of_commands_are_completed_without_importing_them(tmp_path: Path) -> None:
    told = completed("", tmp_path)

    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert {"invoice", "payment", "dev"} <= set(told.stdout.split())
    assert "cli.main" in imported
    assert not imported.intersection(HEAVY)


def test_every_group_asks_the_api_or_is_known_to_go_past_it() -> None:
    assert ASK.keys() | PAST_THE_API | {"logout"} == OPERATORS.keys()


@pytest.mark.parametrize("words", ASK.values(), ids=ASK.keys())
@beside_the_loop
def test_a_command_that_asks_the_api_imports_nothing_of_servers(tmp_path: Path, words: str) -> None:
    billing = str(Path(sys.executable).with_name("billing"))
    told = subprocess.run(
        [sys.executable, "-X", "importtime", billing, *words.split()],
        input="",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(BILLING_API_URL="http://127.0.0.1:1", HOME=str(tmp_path)),
        timeout=PATIENCE_SECONDS,
    )

    lines = told.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time")}
    said = " ".join(line for line in lines if not line.startswith("import time"))
    assert re.match(
        r"billing: .* answers? .*http://127\.0\.0\.1:1|billing: .*does not answer", said
    )
    assert "httpx2" in imported
    assert imported & SERVERS == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@beside_the_loop
def test_completion_is_installed_for_the_shell_of_whoever_asks(tmp_path: Path, shell: str) -> None:
    shown = subprocess.run(
        [Path(sys.executable).with_name("billing"), "--show-completion", shell],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(HOME=str(tmp_path), PATH=os.environ["PATH"]),
        timeout=PATIENCE_SECONDS,
    )

    assert shown.returncode == 0
    assert "_BILLING_COMPLETE" in shown.stdout
    assert shown.stderr == ""
