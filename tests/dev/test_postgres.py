import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from dev import postgres, process
from runtime import schema


@contextmanager
def running_postgres(directory: Path, **settings: str) -> Iterator[int]:
    """The port of a server that runs inside the block."""
    port = process.free_port()
    server = postgres.start(directory, port, postgres.RELAXED | settings)
    try:
        process.wait_until_ready([server])
        yield port
    finally:
        process.stop([server])


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    directory = tmp_path_factory.mktemp("postgresql")
    with running_postgres(directory) as port:
        yield port
    shutil.rmtree(postgres.data_directory(directory), ignore_errors=True)


async def execute(port: int, role: str, sql: str) -> object:
    connection = await asyncpg.connect(postgres.url(port, role))
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE DATABASE mine",
        "CREATE ROLE mine",
    ],
)
async def test_the_application_cannot_create_anything(port: int, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(port, postgres.APPLICATION, statement)


async def test_the_application_sees_only_what_the_owner_grants(port: int) -> None:
    await execute(port, postgres.OWNER, "CREATE TABLE postings (amount bigint)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(port, postgres.APPLICATION, "SELECT count(*) FROM postings")

    await execute(port, postgres.OWNER, f"GRANT SELECT ON postings TO {postgres.APPLICATION}")
    assert await execute(port, postgres.APPLICATION, "SELECT count(*) FROM postings") == 0


@pytest.mark.parametrize("role", [postgres.OWNER, postgres.APPLICATION])
async def test_neither_role_is_a_superuser(port: int, role: str) -> None:
    assert await execute(port, role, "SHOW is_superuser") == "off"


async def test_two_servers_run_at_once(port: int, directory: Path) -> None:
    await execute(port, postgres.OWNER, "CREATE TABLE in_the_first (id int)")
    with running_postgres(directory) as second:
        assert await execute(second, postgres.OWNER, "SELECT to_regclass('in_the_first')") is None


async def test_data_survives_kill_9_and_a_pid_file_with_the_pid_of_somebody_else(
    port: int, directory: Path
) -> None:
    server = postgres.start(directory, own_port := process.free_port(), postgres.DURABLE)
    process.wait_until_ready([server])
    assert await execute(own_port, postgres.OWNER, "SHOW fsync") == "on"
    assert await execute(own_port, postgres.OWNER, "SHOW synchronous_commit") == "on"
    await execute(own_port, postgres.OWNER, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.process.kill()
    server.process.wait()

    # A process of the same user, or PostgreSQL itself would see that the file is stale.
    somebody = await asyncpg.connect(postgres.url(port, postgres.APPLICATION))
    pid_file = postgres.data_directory(directory) / "postmaster.pid"
    _, *lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(somebody.get_server_pid()), *lines]))
    with running_postgres(directory) as own_port:
        assert await execute(own_port, postgres.OWNER, "SELECT answer FROM kept") == 42
    await somebody.close()


@pytest.mark.parametrize(
    ("role", "words"),
    [(postgres.CUSTOMER, "billing_customer NOLOGIN"), (postgres.ISSUER, "billing_auth LOGIN")],
)
async def test_data_of_before_get_the_roles_that_are_missing_when_they_are_started(
    directory: Path, role: str, words: str
) -> None:
    """Without them no migration runs, and says what to do about it."""
    with running_postgres(directory) as port:
        for statement in (f"DROP OWNED BY {role}", f"DROP ROLE {role}"):
            await execute(port, postgres.SUPERUSER, statement)
        with pytest.raises(DBAPIError, match=f"As a superuser: CREATE ROLE {words}"):
            await asyncio.to_thread(schema.upgrade, postgres.url(port, postgres.OWNER))

    with running_postgres(directory) as port:
        await asyncio.to_thread(schema.upgrade, postgres.url(port, postgres.OWNER))


async def test_an_interrupted_first_start_is_made_again(directory: Path) -> None:
    data = postgres.data_directory(directory)
    half = data.with_name(data.name + ".partial")
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with running_postgres(directory) as port:
        assert await execute(port, postgres.APPLICATION, "SELECT 1") == 1
    assert not half.exists()


async def test_settings_reach_the_server(directory: Path) -> None:
    with running_postgres(directory, work_mem="5MB") as port:
        assert await execute(port, postgres.OWNER, "SHOW work_mem") == "5MB"
        assert await execute(port, postgres.OWNER, "SHOW fsync") == "off"
        assert await execute(port, postgres.OWNER, "SHOW max_connections") == "200"
