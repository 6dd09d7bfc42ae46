"""`billing integration-demo` as a newcomer runs it."""

import os
from pathlib import Path

import pytest

from dev.integration.cycle import STEPS
from tests.support.demos import start
from tests.support.processes import descendants, running
from tests.support.threads import beside_the_loop


@pytest.mark.timeout(900)  # it gives up by itself when nothing goes on any more
@beside_the_loop
def test_a_cycle_is_played_as_in_production_and_nothing_is_left(tmp_path: Path) -> None:
    demo = start(tmp_path, "integration-demo")
    assert demo.stdout is not None
    output, pids = "", set[int]()
    with demo.stdout:
        for line in demo.stdout:
            output += line
            if "Mail to" in line:
                pids |= descendants(demo.pid)

    assert demo.wait() == 0, output
    for number, step in enumerate(STEPS, start=1):
        assert f"{number:2}. {step.title}\n" in output
    assert "9 events that customers hear of, 9 mails: one for each." in output
    assert "Everything was as it must be, and everything is stopped." in output
    # Five servers, the issuer, the API, the worker and the notifier.
    assert len(pids) > 8
    assert not running(pids)
    assert os.listdir(tmp_path) == []
