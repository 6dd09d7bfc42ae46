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
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import BinaryIO

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
"""How long a process may show no sign of getting on: a slow machine makes the signs rarer, and does
not end them. There is no other limit to waiting."""
STOP_PATIENCE_SECONDS = 10.0
"""The same for one that was told to stop."""
LAST_LINES = 10
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child between fork and exec should do as little as possible.
_LIBC = ctypes.CDLL(None)


class StackError(Exception):
    """What is wrong with the embedded stack and what to do, in one sentence for a person; the end
    of a log may follow."""


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
    with lock_log(log, name) as output:
        prepare()
        process = _spawn(name, argv, output, subprocess.DEVNULL, user, death_signal, environment)
    return Server(name, process, log, stop_signal, ready)


def run(argv: Sequence[str | Path], *, log: Path, user: str | None = None, stdin: str = "") -> None:
    """Run a command to its end; its output goes to `log`. `stdin` must be short.

    Raises StackError with the end of the log if it fails, or no longer gets on.
    """
    name = Path(argv[0]).name
    with log.open("wb") as output:
        process = _spawn(name, argv, output, subprocess.PIPE, user, signal.SIGKILL, None)
    assert process.stdin is not None
    with process.stdin as pipe, suppress(BrokenPipeError):
        pipe.write(stdin.encode())
    command = Server(name, process, log, signal.SIGTERM, ready=lambda: process.poll() is not None)
    patience = Patience(command, PATIENCE_SECONDS)
    while not command.ready():
        patience.check()
        time.sleep(POLL_SECONDS)
    if process.returncode != 0:
        raise StackError(f"{name} failed ({_reason(process.returncode)}). {end_of(log)}")


def wait_until_ready(
    servers: Sequence[Server], on_ready: Callable[[Server], None] = lambda server: None
) -> None:
    """Wait until every probe succeeds, reporting each server when it is ready.

    Raises StackError if a server ends instead, or no longer gets on.
    """
    waiting = {server: Patience(server, PATIENCE_SECONDS) for server in servers}
    while waiting:
        for server, patience in tuple(waiting.items()):
            check_running(server)
            if server.ready():
                del waiting[server]
                on_ready(server)
            else:
                patience.check()
        time.sleep(POLL_SECONDS if waiting else 0)


def check_running(server: Server) -> None:
    """Raise StackError with the end of the log if the server has ended by itself."""
    status = server.process.poll()
    if status is not None:
        raise StackError(f"{server.name} ended ({_reason(status)}). {end_of(server.log)}")


def stop(
    servers: Sequence[Server], on_stopped: Callable[[Server], None] = lambda server: None
) -> None:
    """Ask the servers to stop, last started first, and report each; kill what no longer gets on.

    They are asked all at once, so stopping takes as long as the slowest of them.
    """
    for server in reversed(servers):
        server.process.send_signal(server.stop_signal)
    waiting = {server: Patience(server, STOP_PATIENCE_SECONDS) for server in servers}
    while waiting:
        for server, patience in tuple(waiting.items()):
            if server.process.poll() is not None:
                del waiting[server]
                on_stopped(server)
            elif patience.is_over():
                server.process.kill()
        time.sleep(POLL_SECONDS if waiting else 0)


class Patience:
    """Watches a process: is over when it has shown no sign of getting on for `seconds`."""

    def __init__(
        self, server: Server, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._server = server
        self._seconds = seconds
        self._clock = clock
        self._silence = 0.0
        self._looked = clock()
        self._signs = _signs(server)

    def is_over(self) -> bool:
        """To be asked again and again: a time in which nobody asked hardly counts, as the process
        may have been frozen like we were."""
        now, signs = self._clock(), _signs(self._server)
        self._silence += min(now - self._looked, 1.0)
        if signs != self._signs:
            self._silence = 0.0
        self._looked, self._signs = now, signs
        return self._silence > self._seconds

    def check(self) -> None:
        """Raise StackError with the end of the log when it is over."""
        if self.is_over():
            server = self._server
            raise StackError(
                f"{server.name} has done nothing for {self._seconds:g} s and is not ready. "
                f"{end_of(server.log)}"
            )


def end_of(log: Path) -> str:
    """The last lines of a log, for a person."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return f"It has no log: {log} is missing."
    words = [f"  {line.rstrip()[:300]}" for line in lines if line.strip()][-LAST_LINES:]
    if not words:
        return f"Its log is empty: {log}"
    return "\n".join([f"Its log, {log}, ends so:", *words])


def lock_log(log: Path, name: str) -> BinaryIO:
    """The log of a server, emptied, once no server holds it: after kill -9 of a launcher its
    servers need a while to end. Raises StackError if one does not."""
    log.parent.mkdir(parents=True, exist_ok=True)
    output = log.open("ab")
    if not wait_for(lambda: lock(output), timeout_seconds=PATIENCE_SECONDS):
        output.close()
        raise StackError(f"{name} already runs with {log.parent}: stop that one first.")
    output.truncate(0)
    return output


def die_with_parent() -> None:
    """Have this process terminated (SIGTERM) when the process that started it dies.

    For a launcher below `make`: after `kill -9` of make its recipe would live on.
    """
    parent = os.getppid()
    _set_death_signal(signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def leave_in_order() -> None:
    """However this launcher is told to end, and if its parent dies, it first stops its children."""
    die_with_parent()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def free_port() -> int:
    """A TCP port of the loopback interface on which nobody listens."""
    # Below the range from which the kernel takes the ports of outgoing connections: there, any
    # connection made between this check and the server's start could take the port.
    while not _is_free(port := random.randrange(20_000, 32_000)):
        pass
    return port


def require_free(port: int, name: str, variable: str) -> None:
    """Raise StackError if somebody listens on the port already; the variable chooses another."""
    if not _is_free(port):
        other = next((each for each in range(port + 1, 65_536) if _is_free(each)), free_port())
        raise StackError(
            f"Port {port} ({name}) is in use: stop what listens there, or choose another port: "
            f"{variable}={other} make dev."
        )


def lock(file: BinaryIO) -> bool:
    """Try to lock an open file; false while another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for(condition: Callable[[], bool], *, timeout_seconds: float) -> bool:
    """Poll until the condition holds; false if it does not within the time-out."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def is_listening(port: int) -> bool:
    """Whether anybody takes connections on this port of the loopback interface."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


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


def _spawn(
    name: str,
    argv: Sequence[str | Path],
    output: BinaryIO,
    stdin: int,
    user: str | None,
    death_signal: signal.Signals,
    environment: Mapping[str, str] | None,
) -> subprocess.Popen[bytes]:
    uid, gid, groups = _credentials(user)
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin,
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


def _signs(server: Server) -> tuple[int, int]:
    """What changes while a process gets on: its log, and the CPU time that it has used, or, if it
    is a script that waits for a program, the program."""
    try:
        written = server.log.stat().st_size
    except FileNotFoundError:
        written = 0
    pid = server.process.pid
    return written, sum(map(cpu_ticks, (pid, *children(pid))))


def children(pid: int) -> list[int]:
    """Those that its main thread has started; none where nobody says so."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_ticks(pid: int) -> int:
    """The CPU time of a process and of its children that have ended; 0 where nobody counts it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, stat.rpartition(")")[2].split()[11:15]))


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


def _reason(status: int) -> str:
    return f"exit code {status}" if status >= 0 else signal.Signals(-status).name
