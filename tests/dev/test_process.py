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
from tests.conditions import PATIENCE_SECONDS, eventually_beside_the_loop
from tests.dev.processes import running


def start_python(script: str, log: Path, ready: bool = True) -> Server:
    return process.start("Example", [sys.executable, "-c", script], log=log, ready=lambda: ready)


def test_a_server_that_ends_at_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    server = start_python("import sys; sys.exit('no licence')", tmp_path / "log", ready=False)

    with pytest.raises(StackError, match=r"Example ended \(exit code 1\): no licence"):
        process.wait_until_ready([server])


def test_a_server_that_is_never_ready_is_reported(tmp_path: Path) -> None:
    server = start_python("import signal; signal.pause()", tmp_path / "log", ready=False)
    try:
        with pytest.raises(StackError, match=r"Example was not ready after 0\.1 s"):
            process.wait_until_ready([server], timeout_seconds=0.1)
    finally:
        process.stop([server])


def test_a_missing_binary_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"Example cannot start: .*/no/such/server"):
        process.start("Example", ["/no/such/server"], log=tmp_path / "log", ready=lambda: True)


def test_stop_is_bounded_for_a_server_that_ignores_the_signal(tmp_path: Path) -> None:
    script = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); "
    server = start_python(script + "[signal.pause() for _ in iter(int, 1)]", tmp_path / "log")
    eventually_beside_the_loop(lambda: "deaf" in server.log.read_text())

    process.stop([server], timeout_seconds=0.2)

    assert server.process.returncode == -signal.SIGKILL


def test_one_log_file_has_one_server(tmp_path: Path) -> None:
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
        with pytest.raises(StackError, match=rf"Port {port} \(the UI\) is in use: stop"):
            process.require_free(port, "the UI")
    process.require_free(port, "the UI")


def test_free_ports_are_free() -> None:
    process.require_free(process.free_port(), "anything")


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new directory" / "endpoints.env"
    process.write_atomically(path, "old")
    process.write_atomically(path, "new")

    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["endpoints.env"]
