"""`python -m dev.real COMMAND …`: run the servers of this machine, and a command against them.

PostgreSQL and Redis are those that this machine has, for what the embedded ones cannot show:
another version, another collation, passwords. The command finds their addresses in its
environment, as whoever has servers elsewhere names them there. A server whose address is there
already is not started. With `--directory` the data stay in it; without, they go with the command.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dev import postgres as embedded
from dev import process, valkey
from dev.process import Server, StackError
from dev.real import kafka, postgres, redis
from dev.stack import LOCK, alone, temporary_directory


def main() -> None:
    """Leaves with the command's exit code; with 1 and a sentence where a server cannot run."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.real", usage="%(prog)s [--directory DIRECTORY] [--kafka] COMMAND …"
    )
    parser.add_argument("--directory", type=Path, help="where the data stay")
    parser.add_argument("--kafka", action="store_true", help="run a broker of Kafka, too")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if not arguments.command:
        parser.error("name a command")
    process.leave_in_order()
    kept: Path | None = arguments.directory
    settings = embedded.RELAXED if kept is None else embedded.DURABLE
    try:
        with (
            temporary_directory() if kept is None else _alone(kept.resolve()) as directory,
            serving(directory, settings, os.environ) as addresses,
            ExitStack() as more,
        ):
            if arguments.kafka:
                addresses |= more.enter_context(_brokers(directory, os.environ))
            code = _run(arguments.command, {**os.environ, **addresses})
    except StackError as error:
        sys.exit("\n".join([f"dev.real: {error}", *getattr(error, "__notes__", ())]))
    sys.exit(code if code >= 0 else 128 - code)


@contextmanager
def serving(
    directory: Path, settings: Mapping[str, str], environment: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """The servers that the environment does not name, for the length of the block; yields their
    addresses, as settings name them. Raises StackError where one is missing or cannot start."""
    servers: list[Server] = []
    addresses: dict[str, str] = {}
    began = time.monotonic()
    try:
        if not environment.get("DATABASE_URL"):
            port, of = process.free_port(), postgres.installation(directory)
            servers.append(postgres.start(directory, port, settings))
            addresses |= {
                "DATABASE_URL": of.url(port, embedded.APPLICATION),
                "DATABASE_OWNER_URL": of.url(port, embedded.OWNER),
                "AUTH_DATABASE_URL": of.url(port, embedded.ISSUER),
            }
        if not environment.get("REDIS_URL"):
            port = process.free_port()
            servers.append(redis.start(directory, port))
            addresses["REDIS_URL"] = valkey.url(port)
        process.wait_until_ready(servers, lambda each: _tell(each, time.monotonic() - began))
        yield addresses
    finally:
        process.stop(servers)


@contextmanager
def _brokers(directory: Path, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A broker of Kafka, unless the environment names some. Raises StackError where there is no
    Java, or its jars cannot be had."""
    if environment.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield {}
        return
    if missing := kafka.why_not():
        raise StackError(f"No Kafka can run here: {missing}.")
    began, ports = time.monotonic(), kafka.Ports.free()
    server = kafka.start(directory, kafka.jars(kafka.JARS), ports)
    try:
        process.wait_until_ready([server], lambda each: _tell(each, time.monotonic() - began))
        yield {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{ports.plain}"}
    finally:
        process.stop([server])


@contextmanager
def _alone(directory: Path) -> Iterator[Path]:
    with alone(directory / LOCK, f"Servers run with their data in {directory}: stop them first."):
        yield directory


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """To its end, however we are told to leave: its servers must be there until then."""
    child = subprocess.Popen(command, env=environment)
    try:
        return _waited(child)
    except SystemExit:
        child.terminate()
        raise
    finally:
        _waited(child)


def _waited(child: "subprocess.Popen[bytes]") -> int:
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # The terminal has told it, too.


def _tell(server: Server, seconds: float) -> None:
    sys.stdout.write(f"  {server.name} of this machine is ready ({seconds:.1f} s)\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
