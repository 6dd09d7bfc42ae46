"""The Redis of this machine; Valkey, where that is what it has. In memory only."""

import shutil
from pathlib import Path

from dev import valkey
from dev.process import Server, StackError

PROGRAMS = {"redis-server": "Redis", "valkey-server": "Valkey"}


def start(directory: Path, port: int, path: str | None = None) -> Server:
    """Start it on the loopback interface. Raises StackError where it is not installed."""
    for program, name in PROGRAMS.items():
        if found := shutil.which(program, path=path):
            return valkey.start_program(name, found, directory, port)
    raise StackError(
        "No Redis is on this machine: install it (on Debian and Ubuntu: apt install redis-server), "
        "put its `redis-server` on the PATH, or set REDIS_URL to one that runs."
    )
