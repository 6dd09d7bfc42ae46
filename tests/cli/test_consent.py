"""What moves money is shown first, and asked about on a terminal."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.main import INTERRUPTED
from cli.refused import Refused
from dev import process
from tests.cli.conftest import Command
from tests.support.local_server import Request, Response, local_server

EVENT = ("usage", "void", "acme-corp", "evt-001", "--reason", "sent twice")
VOIDED = {
    "customerId": "acme-corp",
    "eventId": "evt-001",
    "reason": "sent twice",
    "repeated": False,
}
SHOWN = "Event evt-001 of acme-corp would never be billed."


@dataclass
class Voids:
    """An API that notes what it was asked for."""

    asked: list[Request] = field(default_factory=list)

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        return Response(200, VOIDED)


async def test_a_dry_run_tells_what_would_be_done_and_does_nothing(command: Command) -> None:
    voids = Voids()
    async with local_server(voids) as url:
        told = await command(*EVENT, "--dry-run", BILLING_API_URL=url)

    assert (told.exit_code, told.stdout) == (0, f"{SHOWN}\n")
    assert told.stderr.startswith("Nothing is done.")
    assert voids.asked == []


async def test_whoever_agrees_beforehand_is_not_asked(command: Command) -> None:
    voids = Voids()
    async with local_server(voids) as url:
        told = await command(*EVENT, "--yes", BILLING_API_URL=url)

    assert told.stdout == "Event evt-001 of acme-corp will never be billed.\n"
    assert told.stderr == ""
    assert len(voids.asked) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            (),
            "Nobody is here to be asked: say --yes to do it, or --dry-run to see what would be "
            "done.",
        ),
        (("--yes", "--dry-run"), "--yes or --dry-run: one of them."),
    ],
)
async def test_without_a_yes_nothing_is_even_asked_for(
    command: Command, words: tuple[str, ...], sentence: str
) -> None:
    voids = Voids()
    async with local_server(voids) as url:
        told = await command(*EVENT, *words, stdin="y\n", BILLING_API_URL=url)

    assert told.exit_code == 1
    assert isinstance(told.exception, Refused)
    assert str(told.exception) == sentence
    assert voids.asked == []


@dataclass(frozen=True)
class Ended:
    code: int
    said: str
    stdout: str


Answering = Callable[["subprocess.Popen[str]", int], None]


async def on_a_terminal(url: str, home: Path, answering: Answering) -> Ended:
    """The command with a terminal as its standard input and error; it is answered when it asks."""

    def run() -> Ended:
        ours, theirs = pty.openpty()
        asked = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *EVENT],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            cwd=home,
            env=process.python_environment() | {"BILLING_API_URL": url, "HOME": str(home)},
        )
        os.close(theirs)
        assert asked.stdout is not None
        with asked.stdout as output, open(ours, "rb", buffering=0) as terminal:
            said = ""
            while "Do it? [y/N] " not in said:
                said += terminal.read(1024).decode()
            answering(asked, ours)
            stdout = output.read()
        return Ended(asked.wait(), said, stdout)

    return await asyncio.to_thread(run)


def typing(text: str) -> Answering:
    def answer(asked: "subprocess.Popen[str]", terminal: int) -> None:
        os.write(terminal, text.encode())

    return answer


def interrupting(asked: "subprocess.Popen[str]", terminal: int) -> None:
    asked.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("answering", "code", "times"),
    [
        (typing("y\n"), 0, 1),
        (typing("Yes\n"), 0, 1),
        (typing("n\n"), 1, 0),
        (typing("\n"), 1, 0),
        (typing("\x04"), 1, 0),
        (interrupting, INTERRUPTED, 0),
    ],
    ids=["y", "yes", "n", "nothing", "end of input", "Ctrl-C"],
)
async def test_on_a_terminal_it_is_shown_and_asked(
    tmp_path: Path, answering: Answering, code: int, times: int
) -> None:
    voids = Voids()
    async with local_server(voids) as url:
        ended = await on_a_terminal(url, tmp_path, answering)

    assert SHOWN in ended.said
    assert ended.code == code
    assert len(voids.asked) == times
    assert ("will never be billed" in ended.stdout) == bool(times)
