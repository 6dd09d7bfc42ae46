"""`billing demo` as a newcomer runs it."""

import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from dev import process
from dev.demo import scenario
from dev.demo.scenario import STEPS, Step
from dev.demo.stage import Stage
from dev.demo.verdict import Unexpected, expect
from tests.dev.processes import descendants, running
from tests.threads import beside_the_loop

BILLING = [sys.executable, "-m", "cli.main", "demo"]


def start(directory: Path) -> "subprocess.Popen[str]":
    """The demo, with its temporary files in `directory` and ways to other systems in its way."""
    misleading = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x", "LOG_LEVEL": "ERROR"}
    return subprocess.Popen(
        BILLING,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
        env={
            **process.python_environment(),
            **misleading,
            "TMPDIR": str(directory),
            "TEMPORAL_DEBUG": "",  # ours (tests/conftest.py)
        },
    )


@pytest.mark.timeout(1800)  # it gives up by itself when nothing goes on any more
@beside_the_loop
def test_every_step_is_played_and_nothing_is_left(tmp_path: Path) -> None:
    demo = start(tmp_path)
    assert demo.stdout is not None
    output, pids = "", set[int]()
    with demo.stdout:
        for line in demo.stdout:
            output += line
            if "kill -9 of the worker" in line:
                pids = descendants(demo.pid)

    assert demo.wait() == 0, output
    for number, step in enumerate(STEPS, start=1):
        assert f"{number:2}. {step.title}\n" in output
    assert "208 COMPLETED, 9 FAILED" in output
    assert "agrees with the ledger" in output
    assert len(pids) > 5
    assert not running(pids)
    assert os.listdir(tmp_path) == []


async def test_a_step_that_goes_wrong_says_what_was_expected_and_what_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def wrong(stage: Stage) -> None:
        expect("the payment", "FAILED", "COMPLETED")

    monkeypatch.setattr(scenario, "STEPS", (Step("Pay", wrong),))
    stage = cast(Stage, SimpleNamespace(console=Console(file=StringIO())))

    with pytest.raises(Unexpected) as failure:
        await scenario.play(stage)

    assert str(failure.value) == (
        "Step 1 (Pay) went wrong: the payment: expected 'COMPLETED', but 'FAILED' came."
    )


@beside_the_loop
def test_ctrl_c_stops_the_demo_and_leaves_nothing(tmp_path: Path) -> None:
    demo = start(tmp_path)
    assert demo.stdout is not None
    with demo.stdout:
        while "is ready" not in demo.stdout.readline():
            assert demo.poll() is None
        pids = descendants(demo.pid)
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()

    assert demo.wait() == 130
    assert "Traceback" not in rest
    assert pids
    assert not running(pids)
    assert os.listdir(tmp_path) == []
