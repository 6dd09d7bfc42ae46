"""The embedded stack: real servers as child processes, started side by side, gone with the caller.

A part whose address is set in the environment is not started; that address is used instead.
Kafka is volatile: it forgets its topics, and everything but it keeps its data in `durable_stack`.
"""

import hashlib
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from dev import kafka, postgres, process, temporal, valkey
from dev.process import Server, StackError

Progress = Callable[[str, float], None]
"""Called with what has happened, as "Valkey is ready", and the seconds that it took."""

LOCK = "stack.lock"
CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Endpoints:
    """Where the parts of the stack are found; `temporal_ui_url` is empty if there is no UI."""

    database_url: str
    database_owner_url: str
    auth_database_url: str
    redis_url: str
    kafka_bootstrap_servers: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui_url: str
    gateway_url: str

    def environment(self) -> dict[str, str]:
        """The same as environment variables."""
        return {each.name.upper(): getattr(self, each.name) for each in fields(self)}

    @contextmanager
    def published(self, path: Path, **more: str) -> Iterator[None]:
        """For the length of the block a dotenv file tells other processes that this runs, and
        where. `more`: of our own processes, in further settings."""
        addresses = {**self.environment(), **more}.items()
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in addresses]
        process.write_atomically(path, "".join(lines))
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class SimulatorOptions:
    """How the gateway simulator behaves; `time_scale` divides its delays."""

    webhook_url: str
    webhook_secret: str = field(repr=False)
    time_scale: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class Stack:
    """A running stack. `directory` holds a log for each of its servers."""

    endpoints: Endpoints
    directory: Path
    servers: tuple[Server, ...]

    def check_running(self) -> None:
        """Raise StackError naming the first server that has ended by itself."""
        for server in self.servers:
            process.check_running(server)


@contextmanager
def alone(
    lock: Path,
    refusal: str,
    endpoints_file: Path | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Iterator[None]:
    """For the length of the block nobody else holds this lock file.

    Raises StackError(refusal) while somebody does. Who has not published the endpoints file yet, or
    not any more, is starting or stopping: that is waited for.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("wb") as file:
        is_told = False
        while not process.lock(file):
            if endpoints_file is None or endpoints_file.exists():
                raise StackError(refusal)
            if not is_told:
                tell("Another one is starting or stopping here: waiting for it ...")
                is_told = True
            time.sleep(process.POLL_SECONDS)
        if endpoints_file is not None:
            endpoints_file.unlink(missing_ok=True)  # of one that was killed
        yield


@contextmanager
def durable_stack(
    directory: Path,
    topics: Sequence[str],
    simulator: SimulatorOptions,
    *,
    ui_port: int = 8233,
    progress: Progress = lambda name, seconds: None,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Stack]:
    """Run a stack whose data survives its end, the loss of power included.

    Raises StackError if a part cannot start.
    """
    directory = directory.resolve()
    parts = [
        _valkey(directory),
        _temporal_with_ui(directory, ui_port),
        _kafka(directory, topics),
        _simulator(directory, simulator),
        _postgres(directory, postgres.DURABLE),
    ]
    with _running(parts, directory, progress, environment) as stack:
        yield stack


@contextmanager
def temporary_stack(
    topics: Sequence[str],
    simulator: SimulatorOptions,
    *,
    progress: Progress = lambda name, seconds: None,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Stack]:
    """Run a stack for tests: no UI, no waiting for the disk, and its data goes with it."""
    with temporary_directory() as directory:
        parts = [
            _valkey(directory),
            _temporal_in_memory(directory),
            _kafka(directory, topics),
            _simulator(directory, simulator),
            _postgres(directory, postgres.RELAXED),
        ]
        with _running(parts, directory, progress, environment) as stack:
            yield stack


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory for a stack, removed at the end with all data of the stack, wherever they lie.

    When something has failed the logs stay, and the exception has a note that says where.
    """
    directory = Path(tempfile.mkdtemp(prefix=temporary_prefix())).resolve()
    kept: set[Path] = set()
    try:
        with alone(directory / LOCK, f"A stack runs in {directory} already."):
            yield directory
    except Exception as error:
        if kept := set(directory.glob("*.log")):
            error.add_note(f"The logs are kept in {directory}.")
        raise
    finally:
        postgres.remove_data(directory)
        _remove_all_but(kept, directory)


def temporary_prefix() -> str:
    """How the temporary directories of this checkout begin: `make clean` finds them by it."""
    return f"billing-{hashlib.sha256(os.fsencode(CHECKOUT)).hexdigest()[:8]}-"


def _remove_all_but(kept: Set[Path], directory: Path) -> None:
    if not kept:
        shutil.rmtree(directory)
        return
    for path in set(directory.iterdir()) - kept:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@dataclass(frozen=True)
class _Part:
    replaced_by: str  # the environment variable with the address of another one
    start: Callable[[], Server]
    addresses: Callable[[], dict[str, str]]  # fields of Endpoints, known once it is ready


@contextmanager
def _running(
    parts: Sequence[_Part], directory: Path, progress: Progress, environment: Mapping[str, str]
) -> Iterator[Stack]:
    began = time.monotonic()
    embedded = [part for part in parts if not environment.get(part.replaced_by)]
    addresses = _external(environment)
    servers: list[Server] = []
    try:
        for part in embedded:
            servers.append(part.start())
        process.wait_until_ready(
            servers, lambda each: progress(f"{each.name} is ready", time.monotonic() - began)
        )
        for part in embedded:
            addresses |= part.addresses()
        yield Stack(Endpoints(**addresses), directory, tuple(servers))
    finally:
        stop(servers, progress)


def stop(servers: Sequence[Server], progress: Progress) -> None:
    """Stop them all and report each."""
    began = time.monotonic()
    process.stop(
        servers, lambda each: progress(f"{each.name} has stopped", time.monotonic() - began)
    )


_OTHER_ROLES = {
    "database_owner_url": "the role that owns the tables",
    "auth_database_url": "the role of our own issuer",
}


def _external(environment: Mapping[str, str]) -> dict[str, str]:
    """The addresses of the parts that the environment replaces."""
    names = [each.name for each in fields(Endpoints)]
    given = {name: value for name in names if (value := environment.get(name.upper()))}
    for name, role in _OTHER_ROLES.items():
        if "database_url" in given and name not in given:
            raise StackError(f"DATABASE_URL is set: set {name.upper()} too, {role}.")
    return {"temporal_namespace": temporal.NAMESPACE, "temporal_ui_url": ""} | given


# PostgreSQL is started last: making its data at the first start takes longer than the others need.


def _postgres(directory: Path, settings: Mapping[str, str]) -> _Part:
    port = process.free_port()
    return _Part(
        "DATABASE_URL",
        lambda: postgres.start(directory, port, settings),
        lambda: {
            "database_url": postgres.url(port, postgres.APPLICATION),
            "database_owner_url": postgres.url(port, postgres.OWNER),
            "auth_database_url": postgres.url(port, postgres.ISSUER),
        },
    )


def _valkey(directory: Path) -> _Part:
    port = process.free_port()
    return _Part(
        "REDIS_URL", lambda: valkey.start(directory, port), lambda: {"redis_url": valkey.url(port)}
    )


def _temporal_with_ui(directory: Path, ui_port: int) -> _Part:
    port = process.free_port()

    def start() -> Server:
        return temporal.start_with_ui(directory, port, ui_port)

    return _Part(
        "TEMPORAL_ADDRESS",
        start,
        lambda: {
            "temporal_address": f"127.0.0.1:{port}",
            "temporal_ui_url": f"http://127.0.0.1:{ui_port}",
        },
    )


def _temporal_in_memory(directory: Path) -> _Part:
    port = process.free_port()
    return _Part(
        "TEMPORAL_ADDRESS",
        lambda: temporal.start_in_memory(directory, port),
        lambda: {"temporal_address": f"127.0.0.1:{port}", "temporal_ui_url": ""},
    )


def _kafka(directory: Path, topics: Sequence[str]) -> _Part:
    return _Part(
        "KAFKA_BOOTSTRAP_SERVERS",
        lambda: kafka.start(directory, topics),
        lambda: {"kafka_bootstrap_servers": kafka.bootstrap_servers(directory)},
    )


def _simulator(directory: Path, simulator: SimulatorOptions) -> _Part:
    port = process.free_port()
    options = {
        "--port": port,
        "--book": directory / "gateway.book",
        "--time-scale": simulator.time_scale,
        "--seed": simulator.seed,
        "--webhook-url": simulator.webhook_url,
        "--webhook-secret": simulator.webhook_secret,
    }
    argv = [sys.executable, "-m", "dev.simulator"]
    argv += [str(word) for option in options.items() for word in option]
    return _Part(
        "GATEWAY_URL",
        lambda: process.start(
            "Gateway simulator",
            argv,
            log=directory / "gateway.log",
            ready=lambda: process.http_get(port, "/health")[0] == 200,
            environment=process.python_environment(),
        ),
        lambda: {"gateway_url": f"http://127.0.0.1:{port}"},
    )
