"""What a process logs: JSON lines for machines, with the ids that an operator looks for."""

import ast
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from asyncpg import UniqueViolationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from dev import process
from runtime.logs import FIELDS, words
from store.database import Database
from store.key_ring import UnknownKey

COMMAND = [sys.executable, "-m", "tests.runtime.log_process"]


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """What the process logs when no person is looking."""
    done = subprocess.run(
        COMMAND, env=process.python_environment(), capture_output=True, check=True
    )
    assert done.stdout == b"", "standard output belongs to the answers of commands"
    return [json.loads(line) for line in done.stderr.decode().splitlines()]


def test_outside_a_terminal_every_line_is_an_object_with_time_level_and_event(
    lines: list[dict[str, Any]],
) -> None:
    assert len(lines) == 10
    for line in lines:
        moment = datetime.fromisoformat(line["timestamp"])
        assert moment.utcoffset() is not None
        assert line["level"] in {"info", "warning", "error"}
        assert line["event"]


def test_what_an_activity_logs_carries_its_payment_and_workflow(
    lines: list[dict[str, Any]],
) -> None:
    of_payment = [line for line in lines if line.get("payment_id") == "p-1"]

    assert [line["event"] for line in of_payment] == [
        "the step is done",
        "slow: 7 ms",
        "the step is tried again",
        "it cannot be done",
    ], "ours and the libraries'"
    assert {line["workflow_id"] for line in of_payment} == {"payment/p-1"}
    assert {line["activity"] for line in of_payment} == {"gateway.charge"}
    assert (of_payment[0]["violations"], of_payment[0]["path"]) == (1_000, "/카드")


def test_two_activities_at_once_do_not_mix_their_ids(lines: list[dict[str, Any]]) -> None:
    of_refund = [line for line in lines if line.get("refund_id") == "r-1"]

    assert len(of_refund) == 4
    assert not any("payment_id" in line for line in of_refund)
    [last] = [line for line in lines if line["event"] == "the worker is ready"]
    assert not {"payment_id", "refund_id", "workflow_id"} & set(last)


def test_a_line_says_of_which_trace_it_is_where_there_is_one(lines: list[dict[str, Any]]) -> None:
    said = {line["event"]: line["trace_id"] for line in lines if "trace_id" in line}

    assert said == {"it is part of a trace": f"{0xABC:032x}"}


def test_an_exception_is_one_line_with_its_traceback(lines: list[dict[str, Any]]) -> None:
    [failed, _] = [line for line in lines if line["event"] == "the step is tried again"]

    assert "Traceback" in failed["exception"]
    assert failed["exception"].endswith("ConnectionError: the line broke")


def test_a_field_that_is_not_listed_is_dropped(lines: list[dict[str, Any]]) -> None:
    [done, _] = [line for line in lines if line["event"] == "the step is done"]

    assert set(done) == {
        *("event", "level", "timestamp", "workflow_id", "activity", "payment_id"),
        *("violations", "path"),
    }
    assert "김철수" not in json.dumps(lines, ensure_ascii=False)


def test_an_exception_tells_where_it_came_from_and_not_what_it_quotes(
    lines: list[dict[str, Any]],
) -> None:
    [failed, _] = [line for line in lines if line["event"] == "it cannot be done"]

    told = failed["exception"].splitlines()
    assert (told[0], told[1], told[-1]) == (
        "Traceback (most recent call last):",
        "ValueError",
        "KeyError",
    )
    assert told[-2].startswith("  tests/runtime/log_process.py:")
    assert told[-2].endswith(" in execute_activity")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("no route"), "ConnectionError: no route"),
        (UnknownKey("k2"), f"UnknownKey: {UnknownKey('k2')}"),
        (ValueError("bk_4242"), "ValueError"),
        (UniqueViolationError("Key (key)=(bk_4242)"), "UniqueViolationError 23505"),
        (
            IntegrityError("INSERT", {"key": "bk_4242"}, UniqueViolationError("bk_4242")),
            "IntegrityError 23505",
        ),
    ],
)
def test_an_error_is_said_by_its_kind_unless_its_words_quote_nobody(
    error: Exception, said: str
) -> None:
    assert words(error) == said


async def test_what_the_database_was_given_is_not_in_its_errors(database: Database) -> None:
    with pytest.raises(DBAPIError) as refused:
        async with database.engine.connect() as tx:
            await tx.execute(text("SELECT CAST(:a AS int)"), {"a": "bk_4242"})
    assert "4242" not in str(refused.value).partition("[SQL")[2]


def test_every_field_that_we_log_is_listed_and_no_error_is_put_into_words_before() -> None:
    found = [(path, call) for path in SOURCES for call in _log_calls(ast.parse(path.read_text()))]

    assert len(found) >= 20
    for path, call in found:
        for keyword in call.keywords:
            assert keyword.arg == "exc_info" or keyword.arg in FIELDS, (path, call.lineno)
            assert keyword.arg != "error" or isinstance(keyword.value, ast.Name), path


FOLDERS = (
    "activities",
    "api",
    "auth",
    "cli",
    "gateway",
    "runtime",
    "service",
    "store",
    "workflows",
)
SOURCES = [
    path for folder in FOLDERS for path in (Path(__file__).parents[2] / folder).rglob("*.py")
]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def _log_calls(module: ast.Module) -> Iterator[ast.Call]:
    """`log.warning(...)`, `workflow.logger.info(...)`: calls of a level of something that logs."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            logger = ast.unparse(node.func.value).rpartition(".")[2]
            if node.func.attr in LEVELS and logger in {"log", "logger"}:
                yield node


def test_on_a_terminal_people_get_words() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        COMMAND, env=process.python_environment(), stdout=theirs, stderr=theirs
    ) as running:
        os.close(theirs)
        read = b""
        with suppress(OSError):  # how a terminal says that the other end is closed
            while chunk := os.read(ours, 65_536):
                read += chunk
        os.close(ours)

    assert running.returncode == 0
    assert b"the worker is ready" in read
    assert not read.lstrip().startswith(b"{")
