"""Signs of life: what a person sees of something that is silent for long."""

import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dev import alive, process
from dev.alive import Voice, signs_of_life

SLEEPS = "import time; print('first', flush=True); time.sleep(2.5); print('second', flush=True)"


def run_alive(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dev.alive", *command],
        capture_output=True,
        text=True,
        env=process.python_environment(),
    )


def test_every_second_of_silence_is_a_dot_and_words_begin_a_line() -> None:
    stream, now = io.StringIO(), [0.0]
    voice = Voice(stream, lambda: now[0])
    for now[0] in (0.5, 1.0, 1.2, 2.1):
        voice.dot_when_silent()
    voice.write("ready\n")
    for now[0] in (3.1, 3.2):
        voice.dot_when_silent()

    assert stream.getvalue() == "..\nready\n."


def test_no_dots_while_silence_means_that_all_is_well() -> None:
    stream, now = io.StringIO(), [0.0]
    voice = Voice(stream, lambda: now[0])
    with voice.quiet():
        now[0] = 60.0
        voice.dot_when_silent()
    for now[0] in (60.5, 61.0):
        voice.dot_when_silent()

    assert stream.getvalue() == "."


def test_what_is_printed_in_the_block_interrupts_the_dots(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alive, "SILENCE_SECONDS", 0.01)
    with signs_of_life():
        while "." not in (shown := capsys.readouterr().out):
            assert shown == ""
        sys.stdout.write("words\n")
    sys.stdout.write("after\n")

    assert capsys.readouterr().out.lstrip(".").startswith("\nwords\n")


def test_a_silent_command_shows_that_it_lives_and_keeps_its_words_and_its_exit_code() -> None:
    done = run_alive(sys.executable, "-c", f"{SLEEPS}; raise SystemExit(3)")

    assert done.returncode == 3
    first, dots, second = done.stdout.splitlines()
    assert (first, set(dots), second) == ("first", {"."}, "second")


def test_a_command_goes_on_when_nobody_reads_any_more(tmp_path: Path) -> None:
    script = f"{SLEEPS}; import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
    done = tmp_path / "done"
    alone = subprocess.Popen(
        [sys.executable, "-m", "dev.alive", sys.executable, "-c", script, str(done)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=process.python_environment(),
    )
    assert alone.stdout is not None
    alone.stdout.close()
    alone.wait()

    assert done.exists()


def test_a_command_that_a_signal_has_ended_ends_as_shells_say_it() -> None:
    done = run_alive(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")

    assert done.returncode == 128 + signal.SIGKILL


def test_a_command_that_is_not_there_is_one_sentence() -> None:
    done = run_alive("/no/such/command")

    assert done.returncode == 1
    assert done.stderr == "/no/such/command cannot run: No such file or directory.\n"
