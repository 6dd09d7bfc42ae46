"""A PostgreSQL and a streaming replica of it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev import postgres, process
from dev.process import Server
from tests.support.databases import execute

PRIMARY, COPY = "primary", "copy"


@dataclass(frozen=True)
class Pair:
    """Their ports; the copy can be stopped, and held up."""

    primary: int
    copy: int
    standby: Server

    async def hold_up(self) -> None:
        """What the copy receives it does not replay any more."""
        await self._tell("SELECT pg_wal_replay_pause()")

    async def go_on(self) -> None:
        await self._tell("SELECT pg_wal_replay_resume()")

    async def _tell(self, statement: str) -> None:
        await execute(postgres.url(self.copy, postgres.SUPERUSER), statement)


@contextmanager
def replicated(directory: Path) -> Iterator[Pair]:
    """Both of them, without tables."""
    homes = [directory / each for each in (PRIMARY, COPY)]
    for home in homes:
        home.mkdir()
    primary, copy = process.free_port(), process.free_port()
    servers = [postgres.start(homes[0], primary, postgres.RELAXED)]
    try:
        process.wait_until_ready(servers)
        servers.append(_standby(homes[1], primary, copy))
        process.wait_until_ready(servers)
        yield Pair(primary, copy, servers[-1])
    finally:
        process.stop(servers)
        for home in homes:
            postgres.remove_data(home)


def _standby(home: Path, primary: int, port: int) -> Server:
    of, data = postgres.embedded(), postgres.data_directory(home)
    source = f"postgresql://{postgres.SUPERUSER}@127.0.0.1:{primary}"
    postgres.make_directory(of, data)
    copying: list[str | Path] = [of.programs / "pg_basebackup", "-D", data, "-R", "-c", "fast"]
    process.run([*copying, "-d", source], log=home / "basebackup.log", user=postgres.user(of))
    told = (
        *("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off"),
        "max_connections=200",  # as many as where it copies from, or it does not start
    )
    return process.start(
        "Replica",
        [of.programs / "postgres", "-D", data, *(word for each in told for word in ("-c", each))],
        log=home / "postgresql.log",
        ready=lambda: postgres.answers_query(of, port),
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
        user=postgres.user(of),
    )
