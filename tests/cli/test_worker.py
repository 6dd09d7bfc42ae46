"""`billing worker --queues …`: bad names are refused before anything starts."""

from pathlib import Path

import pytest
import typer

from cli.worker import served
from runtime.settings import WorkerQueue
from tests.cli.test_main import billing
from tests.support.threads import beside_the_loop

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


@beside_the_loop
def test_a_doubled_name_in_the_setting_is_a_sentence(tmp_path: Path) -> None:
    run = billing("worker", cwd=tmp_path, WORKER_QUEUES='["outbox","outbox"]')

    assert run.returncode == 1
    assert run.stderr == (
        "billing: The setting WORKER_QUEUES cannot be used: Each queue should be named once.\n"
    )
