"""What a process logs: JSON lines for machines, with the ids that an operator looks for."""

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest

from dev import process

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
    assert len(lines) == 7
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
    ], "ours and the libraries'"
    assert {line["workflow_id"] for line in of_payment} == {"payment/p-1"}
    assert {line["activity"] for line in of_payment} == {"gateway.charge"}
    assert (of_payment[0]["amount"], of_payment[0]["name"]) == (1_000, "카드")


def test_two_activities_at_once_do_not_mix_their_ids(lines: list[dict[str, Any]]) -> None:
    of_refund = [line for line in lines if line.get("refund_id") == "r-1"]

    assert len(of_refund) == 3
    assert not any("payment_id" in line for line in of_refund)
    [last] = [line for line in lines if line["event"] == "the worker is ready"]
    assert not {"payment_id", "refund_id", "workflow_id"} & set(last)


def test_an_exception_is_one_line_with_its_traceback(lines: list[dict[str, Any]]) -> None:
    [failed, _] = [line for line in lines if line["event"] == "the step is tried again"]

    assert "Traceback" in failed["exception"]
    assert failed["exception"].endswith("ConnectionError: the line broke")


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
