"""`billing worker --queues …`: bad names are refused before anything starts."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cli.worker import served
from runtime.settings import WorkerQueue
from tests.cli.test_main import billing, environment
from tests.support.conditions import PATIENCE_SECONDS
from tests.support.threads import beside_the_loop

ROOT = Path(__file__).parents[2]
ALL = "payments, settlement, outbox, verification, consumers"


def test_queues_are_named_with_commas_between() -> None:
    assert served("outbox, consumers") == [WorkerQueue.OUTBOX, WorkerQueue.CONSUMERS]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("", f"There is no queue ``, but {ALL}."),
        ("payments,", f"There is no queue ``, but {ALL}."),
        ("outbox,payments,outbox", "Name each queue once."),
    ],
)
def test_unknown_and_doubled_names_are_refused(names: str, sentence: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        served(names)

    assert refused.value.message == sentence


@beside_the_loop
def test_a_bad_name_is_refused_as_any_bad_option_is(tmp_path: Path) -> None:
    run = billing("worker", "--queues", "payments,refunds", cwd=tmp_path, COLUMNS="200")

    assert run.returncode == 2
    assert f"There is no queue `refunds`, but {ALL}." in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            '["outbox","outbox"]',
            "The setting WORKER_QUEUES cannot be used: Each queue should be named once.",
        ),
        ("outbox", "A setting is not valid JSON: "),
    ],
)
@beside_the_loop
def test_a_setting_that_cannot_be_read_is_a_sentence_of_either_entry(
    value: str, sentence: str, tmp_path: Path
) -> None:
    command = billing("worker", cwd=tmp_path, WORKER_QUEUES=value)
    script = subprocess.run(
        [sys.executable, ROOT / "worker.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(WORKER_QUEUES=value),
        timeout=PATIENCE_SECONDS,
    )

    assert (command.returncode, script.returncode) == (1, 1)
    assert command.stderr.startswith(f"billing: {sentence}")
    assert script.stderr == command.stderr.replace("billing: ", "worker: ")
