"""Server processes that never outlive the process that started them.

A finally block does not run after `kill -9`, so the kernel is asked to end the children (Linux;
elsewhere they end with an orderly exit only). The log file of a server is also its lock: the server
and its children hold the lock as long as one of them can still write there.
"""

import ctypes
import fcntl
import http.client
import importlib.util
import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child between fork and exec should do as little as possible.
_LIBC = ctypes.CDLL(None)


class StackError(Exception):
    """What is wrong with the embedded stack and what to do, in one sentence for a person."""


@dataclass(frozen=True)
class Server:
    """A started child process; `ready` is its probe, true once it serves requests."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals
    ready: Callable[[], bool]


def start(
    name: str,
    argv: Sequence[str | Path],
    *,
    log: Path,
    ready: Callable[[], bool],
    prepare: Callable[[], None] = lambda: None,
    stop_signal: signal.Signals = signal.SIGTERM,
    death_signal: signal.Signals = signal.SIGKILL,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Server:
    """Start a server without waiting for it; its output goes to `log`, which is emptied first.

    `prepare` runs first, while nobody else can start a server with this log file. `death_signal` is
    what the kernel sends when the calling process dies. `user` needs root. Raises StackError if
    another server of this log file is alive, or argv[0] cannot be executed.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("Start servers from the main thread: they die with the thread.")
    uid, gid, groups = _credentials(user)
    with _lock(log, name) as output:
        prepare()
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",  # `nobody` may not enter the working directory of root
                env=environment,
                process_group=0,  # Ctrl-C reaches the launcher only, which stops servers in order
                preexec_fn=partial(_die_with, os.getpid(), death_signal),
                user=uid,
                group=gid,
                extra_groups=groups,
            )
        except OSError as error:
            raise StackError(f"{name} cannot start: {error}.") from error
    return Server(name, process, log, stop_signal, ready)


def run(argv: Sequence[str | Path], *, user: str | None = None, stdin: str = "") -> None:
    """Run a short command to its end (60 s at most); raises StackError with its last words."""
    name = Path(argv[0]).name
    uid, gid, groups = _credentials(user)
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            cwd="/",
            preexec_fn=partial(_die_with, os.getpid(), signal.SIGKILL),
            user=uid,
            group=gid,
            extra_groups=groups,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{name} cannot run: {error}.") from error
    if done.returncode != 0:
        raise StackError(f"{name} failed: {_last_lines(done.stdout)}.")


def wait_until_ready(
    servers: Sequence[Server],
    on_ready: Callable[[Server], None] = lambda server: None,
    *,
    timeout_seconds: float = 60,
) -> None:
    """Wait until every probe succeeds, reporting each server when it is ready.

    Raises StackError if a server ends instead, or takes longer than the time-out.
    """
    waiting = list(servers)
    deadline = time.monotonic() + timeout_seconds
    while waiting:
        for server in tuple(waiting):
            check_running(server)
            if server.ready():
                waiting.remove(server)
                on_ready(server)
        if waiting and time.monotonic() > deadline:
            late = waiting[0]
            raise StackError(
                f"{late.name} was not ready after {timeout_seconds:g} s; its log is {late.log}."
            )
        time.sleep(POLL_SECONDS if waiting else 0)


def check_running(server: Server) -> None:
    """Raise StackError with the last lines of the log if the server has ended by itself."""
    status = server.process.poll()
    if status is not None:
        try:
            words = _last_lines(server.log.read_text(errors="replace"))
        except FileNotFoundError:
            words = "no log"
        raise StackError(f"{server.name} ended ({_reason(status)}): {words}. Log: {server.log}")


def stop(servers: Sequence[Server], *, timeout_seconds: float = 10) -> None:
    """Ask the servers to stop, last started first; kill what still runs after the time-out.

    They are asked all at once, so stopping takes as long as the slowest of them.
    """
    deadline = time.monotonic() + timeout_seconds
    for server in reversed(servers):
        server.process.send_signal(server.stop_signal)
    for server in reversed(servers):
        try:
            server.process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()


def die_with_parent() -> None:
    """Have this process terminated (SIGTERM) when the process that started it dies.

    For a launcher below `make`: after `kill -9` of make its recipe would live on.
    """
    parent = os.getppid()
    _set_death_signal(signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def free_port() -> int:
    """A TCP port of the loopback interface on which nobody listens."""
    # Below the range from which the kernel takes the ports of outgoing connections: there, any
    # connection made between this check and the server's start could take the port.
    while not _is_free(port := random.randrange(20_000, 32_000)):
        pass
    return port


def require_free(port: int, name: str) -> None:
    """Raise StackError if somebody listens on the port already."""
    if not _is_free(port):
        raise StackError(
            f"Port {port} ({name}) is in use: stop what listens there or choose another port."
        )


def wait_for(condition: Callable[[], bool], *, timeout_seconds: float) -> bool:
    """Poll until the condition holds; false if it does not within the time-out."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def http_get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of what a server on the loopback interface answers; status 0 for nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file at once, readable by this user only: a reader sees the old or the new text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(temporary, path)


def package_directory(name: str) -> Path | None:
    """Where a Python package is installed, without importing it; None if it is not."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found is not None and found.origin else None


def python_environment() -> dict[str, str]:
    """The environment in which `python -m dev.…` finds this package from any directory."""
    here = str(Path(__file__).resolve().parents[1])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{path}" if path else here}


def _die_with(parent: int, death_signal: signal.Signals) -> None:
    """Run in the child after fork and change of user (which clears the setting), before exec."""
    if death_signal is not signal.SIGKILL:
        # Python's handler is still in place: it would swallow a signal that comes before exec.
        signal.signal(death_signal, signal.SIG_DFL)
    _set_death_signal(death_signal)
    if os.getppid() != parent:  # it died before we asked to be told
        os.kill(os.getpid(), signal.SIGKILL)


def _set_death_signal(death_signal: signal.Signals) -> None:
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal)


def _lock(log: Path, name: str) -> BinaryIO:
    log.parent.mkdir(parents=True, exist_ok=True)
    output = log.open("ab")

    def locked() -> bool:
        try:
            fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    # After kill -9 of a launcher its servers need a moment to end.
    if not wait_for(locked, timeout_seconds=5):
        output.close()
        raise StackError(f"{name} already runs with {log.parent}: stop that one first.")
    output.truncate(0)
    return output


def _credentials(user: str | None) -> tuple[int | None, int | None, list[int] | None]:
    """The user, group and supplementary groups of a child; None leaves them as they are."""
    if user is None:
        return None, None, None
    account = pwd.getpwnam(user)
    return account.pw_uid, account.pw_gid, []


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection of the past in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-2:]).rstrip(".") or "no output"


def _reason(status: int) -> str:
    return f"exit code {status}" if status >= 0 else signal.Signals(-status).name
