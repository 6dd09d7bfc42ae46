import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from dev import process
from dev.process import Server, StackError
from tests.support.conditions import PATIENCE_SECONDS, eventually_beside_the_loop
from tests.support.processes import running

CHILD = [sys.executable, "-c", "import os\nits = os.getppid()\nwhile os.getppid() == its: pass"]
"""Computes as long as who started it lives."""


def start_python(script: str, log: Path, ready: bool = True) -> Server:
    return process.start("Example", [sys.executable, "-c", script], log=log, ready=lambda: ready)


def test_a_server_that_ends_at_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    server = start_python("import sys; sys.exit('no licence')", tmp_path / "log", ready=False)

    with pytest.raises(StackError) as failure:
        process.wait_until_ready([server])

    assert str(failure.value) == (
        f"Example ended (exit code 1). Its log, {server.log}, ends so:\n  no licence"
    )


def test_a_server_that_no_longer_gets_on_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 0.5)
    script = "print('who am I waiting for?', flush=True); import signal; signal.pause()"
    server = start_python(script, tmp_path / "log", ready=False)
    try:
        with pytest.raises(StackError) as failure:
            process.wait_until_ready([server])
    finally:
        process.stop([server])

    told, last = str(failure.value).splitlines()
    assert told.startswith("Example has done nothing for 0.5 s and is not ready. Its log, ")
    assert last == "  who am I waiting for?"


@pytest.mark.parametrize(
    "work",
    [
        pytest.param("print('still here', flush=True); time.sleep(0.01)", id="its log grows"),
        pytest.param("sum(range(100_000))", id="it computes"),
        pytest.param(f"import subprocess; subprocess.run({CHILD})", id="its child computes"),
    ],
)
def test_a_server_that_gets_on_is_waited_for(tmp_path: Path, work: str) -> None:
    now, server = [0.0], start_python(f"import time\nwhile True: {work}", tmp_path / "log")
    patience = process.Patience(server, 5.0, lambda: now[0])
    try:
        for now[0] in map(float, range(1, 20)):
            before = process._signs(server)
            while process._signs(server) == before:
                process.check_running(server)
            assert not patience.is_over()
    finally:
        process.stop([server])


def test_patience_does_not_count_a_time_in_which_nobody_asked(tmp_path: Path) -> None:
    server = start_python("import signal; signal.pause()", tmp_path / "log")
    times = iter([0.0, 3_600.0])  # the machine slept, and the server with it
    try:
        assert not process.Patience(server, 60.0, lambda: next(times)).is_over()
    finally:
        process.stop([server])


def test_a_command_is_run_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "import sys; print(sys.stdin.read().upper())"

    process.run([sys.executable, "-c", script], log=log, stdin="roles")

    assert log.read_text() == "ROLES\n"


def test_a_command_that_fails_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    script = "import sys; print(*range(20), sep=chr(10), flush=True); sys.exit('no space left')"

    with pytest.raises(StackError) as failure:
        process.run([sys.executable, "-c", script], log=tmp_path / "log")

    told, *lines = str(failure.value).splitlines()
    assert told.startswith(f"{Path(sys.executable).name} failed (exit code 1). Its log, ")
    assert len(lines) == process.LAST_LINES
    assert lines[-1] == "  no space left"


def test_a_missing_binary_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"Example cannot start: .*/no/such/server"):
        process.start("Example", ["/no/such/server"], log=tmp_path / "log", ready=lambda: True)


def test_a_server_that_ignores_the_signal_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STOP_PATIENCE_SECONDS", 0.2)
    script = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); "
    server = start_python(script + "[signal.pause() for _ in iter(int, 1)]", tmp_path / "log")
    eventually_beside_the_loop(lambda: "deaf" in server.log.read_text())

    process.stop([server])

    assert server.process.returncode == -signal.SIGKILL


def test_each_server_that_has_stopped_is_reported(tmp_path: Path) -> None:
    servers = [start_python("import signal; signal.pause()", tmp_path / name) for name in "ab"]
    stopped: list[Server] = []

    process.stop(servers, stopped.append)

    assert set(stopped) == set(servers)


def test_one_log_file_has_one_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 0.2)
    first = start_python("import signal; signal.pause()", tmp_path / "log")
    try:
        with pytest.raises(StackError, match="Example already runs with"):
            start_python("pass", tmp_path / "log")
    finally:
        process.stop([first])
    process.stop([start_python("pass", tmp_path / "log")])


def test_a_server_is_started_from_the_main_thread(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool, pytest.raises(RuntimeError, match="main thread"):
        pool.submit(start_python, "pass", tmp_path / "log").result()


def test_a_child_notices_a_parent_that_died_before_it_asked() -> None:
    nobodys_parent = partial(process._die_with, 2**22, signal.SIGTERM)
    child = subprocess.Popen([sys.executable, "-c", "pass"], preexec_fn=nobodys_parent)

    assert child.wait(PATIENCE_SECONDS) == -signal.SIGKILL


def test_a_launcher_dies_with_its_parent() -> None:
    launcher = "from dev import process; process.die_with_parent(); import os, signal; "
    launcher += "print(os.getpid(), flush=True); signal.pause()"
    make = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {launcher!r}])"
    parent = subprocess.Popen(
        [sys.executable, "-c", make],
        stdout=subprocess.PIPE,
        env=process.python_environment(),
    )
    assert parent.stdout is not None
    with parent.stdout as output:
        pid = int(output.readline())
    parent.kill()
    parent.wait()

    eventually_beside_the_loop(lambda: not running({pid}))


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StackError) as refusal:
            process.require_free(port, "the UI", "UI_PORT")
    told, _, other = str(refusal.value).rpartition("UI_PORT=")
    assert told == (
        f"Port {port} (the UI) is in use: stop what listens there, or choose another port: "
    )
    process.require_free(int(other.removesuffix(" make dev.")), "the UI", "UI_PORT")
    process.require_free(port, "the UI", "UI_PORT")


def test_free_ports_are_free() -> None:
    process.require_free(process.free_port(), "anything", "A_PORT")


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new directory" / "endpoints.env"
    process.write_atomically(path, "old")
    process.write_atomically(path, "new")

    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["endpoints.env"]
