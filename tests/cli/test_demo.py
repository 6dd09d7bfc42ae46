"""`billing demo` as a newcomer runs it."""

import asyncio
import os
import signal
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from dev import process
from dev.demo import stage as stage_module
from dev.demo.scenario import STEPS, Step, play
from dev.demo.stage import Stage
from dev.demo.verdict import Unexpected, expect
from dev.process import Server, StackError
from tests.support.demos import start
from tests.support.processes import command, descendants, running
from tests.support.threads import beside_the_loop


@pytest.mark.timeout(1800)  # it gives up by itself when nothing goes on any more
@beside_the_loop
def test_every_step_is_played_and_nothing_is_left(tmp_path: Path) -> None:
    demo = start(tmp_path, "demo")
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


def on_stage(ours: list[Server]) -> Stage:
    """One on which steps only wait for these processes."""
    nothing = cast(Any, SimpleNamespace(servers=()))
    return Stage(Console(file=StringIO()), nothing, {}, ours, nothing, nothing)


def worker(script: str, directory: Path) -> Server:
    argv = [sys.executable, "-c", script]
    return process.start("Worker", argv, log=directory / "worker.log", ready=lambda: True)


async def test_a_step_is_given_up_when_everybody_works_and_nothing_comes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "PATIENCE_CPU_SECONDS", 0.2)
    busy = worker("while True: pass", tmp_path)
    stage = on_stage([busy])

    async def never() -> bool:
        return False

    async def wait_for_the_customer() -> None:
        await stage.until("the customer pays", never)

    try:
        with pytest.raises(Unexpected, match="the customer pays: this did not happen, though"):
            await stage.watch(wait_for_the_customer())
    finally:
        process.stop([busy])


async def test_a_step_ends_with_the_process_that_it_waits_for(tmp_path: Path) -> None:
    stage = on_stage([worker("import sys; sys.exit('out of memory')", tmp_path)])

    with pytest.raises(StackError, match=r"Worker ended \(exit code 1\)") as failure:
        await stage.watch(asyncio.sleep(3_600))

    assert str(failure.value).endswith("  out of memory")


async def test_a_step_that_goes_wrong_says_what_was_expected_and_what_came() -> None:
    async def wrong(stage: Stage) -> None:
        expect("the payment", "FAILED", "COMPLETED")

    with pytest.raises(Unexpected) as failure:
        await play(on_stage([]), (Step("Pay", wrong),))

    assert str(failure.value) == (
        "Step 1 (Pay) went wrong: the payment: expected 'COMPLETED', but 'FAILED' came."
    )


@pytest.mark.timeout(240)
@beside_the_loop
def test_a_demo_that_fails_keeps_its_logs_and_shows_how_they_end(tmp_path: Path) -> None:
    demo = start(tmp_path, "demo")
    assert demo.stdout is not None
    output = ""
    with demo.stdout:
        for line in demo.stdout:
            output += line
            if line.startswith(" 1. "):
                [kafka] = [pid for pid in descendants(demo.pid) if "dev.kafka" in command(pid)]
                os.kill(kafka, signal.SIGKILL)

    assert demo.wait() == 1
    failure = output.partition("billing: ")[2]
    [kept] = os.listdir(tmp_path)
    log = tmp_path / kept / "kafka.log"
    assert failure.startswith(f"Kafka ended (SIGKILL). Its log, {log}, ends so:\n  ")
    assert failure.endswith(f"The logs are kept in {tmp_path / kept}.\n")
    assert {"worker.log", "api.log", "kafka.log"} <= set(os.listdir(tmp_path / kept))
    assert all(name.endswith(".log") for name in os.listdir(tmp_path / kept))


@beside_the_loop
def test_ctrl_c_stops_the_demo_and_leaves_nothing(tmp_path: Path) -> None:
    demo = start(tmp_path, "demo")
    assert demo.stdout is not None
    with demo.stdout:
        while "is ready" not in (line := demo.stdout.readline()):
            assert line
        pids = descendants(demo.pid)
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()

    assert demo.wait() == 130
    assert "Traceback" not in rest
    assert pids
    assert not running(pids)
    assert os.listdir(tmp_path) == []
