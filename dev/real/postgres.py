"""The PostgreSQL of this machine, as a distribution makes one: people's own order of text, and a
password for each role."""

import os
import pwd
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dev import postgres, process
from dev.postgres import Installation
from dev.process import Server, StackError
from domain.finding import numbers

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian and its kin put them, a folder for each version."""
USER = "postgres"
"""As whom it runs under root, as distributions have it."""
CONNECTIONS = "400"
"""For two processes of tests; docs/operations.md says how many an installation takes."""
_INITDB = (
    *("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"),
    *("--auth-local=peer", "--auth-host=scram-sha-256"),
)


def start(directory: Path, port: int, settings: Mapping[str, str]) -> Server:
    """Start it; its data lie where `dev.postgres.data_directory` says. Raises StackError where it
    is not installed, or has no user to run as."""
    more = {"max_connections": CONNECTIONS, **settings}
    return postgres.start(directory, port, more, installation(directory))


def installation(directory: Path) -> Installation:
    """Its password is made at the first start, and lies beside the data."""
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(USER)
        except KeyError:
            raise StackError(
                f"PostgreSQL does not run as root, and there is no user {USER}."
            ) from None
    return Installation(programs(), USER, _INITDB, _password(directory / "password"))


def programs(debian: Path = DEBIAN, path: str | None = None) -> Path:
    """Those of the newest on this machine. Raises StackError where there is none."""
    packaged = sorted(debian.glob("[0-9]*/bin/postgres"), key=lambda each: numbers(each.parts[-3]))
    if packaged:
        return packaged[-1].parent
    if found := shutil.which("postgres", path=path):
        return Path(found).resolve().parent
    raise StackError(
        "No PostgreSQL is on this machine: install it (on Debian and Ubuntu: apt install "
        "postgresql), put its `postgres` on the PATH, or set DATABASE_URL to one that runs."
    )


def _password(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text()
    made = secrets.token_urlsafe()
    process.write_atomically(path, made)
    return made
