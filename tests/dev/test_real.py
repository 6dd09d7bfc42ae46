"""The servers of this machine: which are taken, what is said where there are none, and that the
product is at home on the PostgreSQL that a distribution makes."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from dev import postgres as embedded
from dev import process
from dev.process import StackError
from dev.real import postgres, redis
from dev.real.__main__ import serving
from domain.access import SYSTEM
from runtime import schema
from store import grants
from tests.support.databases import connected

ELSEWHERE = {
    "DATABASE_URL": "postgresql://billing_app@db.example/billing",
    "REDIS_URL": "redis://cache.example/0",
}


def dev_real(*command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "dev.real", *command]
    environment = process.python_environment() | variables
    return subprocess.run(argv, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of the PostgreSQL of this machine."""
    directory = tmp_path_factory.mktemp("real")
    try:
        postgres.installation(directory)
    except StackError as missing:
        pytest.skip(str(missing))
    try:
        redis_elsewhere = {"REDIS_URL": ELSEWHERE["REDIS_URL"]}
        with serving(directory, embedded.RELAXED, redis_elsewhere) as addresses:
            yield addresses
    finally:
        embedded.remove_data(directory)


def test_the_newest_postgresql_that_is_packaged_is_taken_else_that_of_the_path(
    tmp_path: Path,
) -> None:
    for version in ("9.6", "15", "17"):
        (tmp_path / "debian" / version / "bin").mkdir(parents=True)
        (tmp_path / "debian" / version / "bin" / "postgres").touch(0o755)
    on_path = tmp_path / "bin" / "postgres"
    on_path.parent.mkdir()
    on_path.touch(0o755)

    path = str(on_path.parent)
    assert postgres.programs(tmp_path / "debian", path) == tmp_path / "debian" / "17" / "bin"
    assert postgres.programs(tmp_path / "none", path) == on_path.parent


def test_a_server_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="No PostgreSQL is on this machine: install it"):
        postgres.programs(tmp_path, str(tmp_path))
    with pytest.raises(StackError, match="No Redis is on this machine: install it"):
        redis.start(tmp_path, process.free_port(), str(tmp_path))

    told = {"DATABASE_URL": ELSEWHERE["DATABASE_URL"], "REDIS_URL": "", "PATH": str(tmp_path)}
    done = dev_real("true", **told)
    assert done.returncode == 1
    assert done.stderr.startswith("dev.real: No Redis is on this machine: ")
    assert done.stderr.count("\n") == 1


def test_where_no_kafka_can_run_it_is_said(tmp_path: Path) -> None:
    done = dev_real("--kafka", "true", **ELSEWHERE, PATH=str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == "dev.real: No Kafka can run here: mvn is not here.\n"


def test_a_command_is_told_the_addresses_and_its_exit_code_is_ours() -> None:
    done = dev_real("sh", "-c", "echo $DATABASE_URL $REDIS_URL; exit 3", **ELSEWHERE)

    assert (done.returncode, done.stdout.split()) == (3, [*ELSEWHERE.values()])


async def test_the_migrations_make_there_what_we_expect(urls: dict[str, str]) -> None:
    await asyncio.to_thread(schema.upgrade, urls["DATABASE_OWNER_URL"])

    async with connected(urls["DATABASE_URL"]) as application, application.read(SYSTEM) as tx:
        assert await grants.found(tx) == grants.EXPECTED
        assert await grants.roles(tx) == grants.ROLES
        provider = text("SELECT datlocprovider FROM pg_database WHERE datname = 'billing'")
        assert str(await tx.scalar(provider)) in ("i", "b'i'")


@pytest.mark.parametrize("role", [embedded.APPLICATION, embedded.OWNER, embedded.ISSUER])
async def test_nobody_comes_in_there_without_a_password(urls: dict[str, str], role: str) -> None:
    at = urls["DATABASE_URL"].rpartition("@")[2]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://{role}:another@{at}")
