"""Migrations: up, in agreement with the tables, down to nothing, and up again."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config

from runtime import schema
from runtime.settings import Settings
from tests.databases import execute

_LEFT_OVER = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT typname FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typname NOT LIKE '%alembic_version'
"""


@pytest.fixture
def empty_database(settings: Settings) -> Iterator[str]:
    """The owner's address of a database of its own."""
    name = f"empty_{uuid4().hex}"
    asyncio.run(execute(settings.database_owner_url, f"CREATE DATABASE {name}"))
    yield settings.database_owner_url.rpartition("/")[0] + f"/{name}"
    asyncio.run(execute(settings.database_owner_url, f"DROP DATABASE {name}"))


def test_up_and_down_and_up_again(empty_database: str) -> None:
    schema.upgrade(empty_database)
    schema.check(empty_database)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.attributes["url"] = empty_database

    command.downgrade(config, "base")
    left_over = set(asyncio.run(execute(empty_database, _LEFT_OVER)))
    assert left_over == {"alembic_version", "alembic_version_pkc"}

    schema.upgrade(empty_database)
    schema.check(empty_database)


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(empty_database: str) -> None:
    schema.upgrade(empty_database)
    schema.upgrade(empty_database)

    schema.check(empty_database)
