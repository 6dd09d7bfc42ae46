"""The running system as it is found from a machine of the installation: by commands that are that
machine's own business, and look at the database itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rich.console import Console

from cli.settings import os_user
from cli.way import WAY
from domain.access import Access, at_the_machine
from runtime import desk as desks
from runtime.settings import ENDPOINTS_FILE, ConfigurationError, Settings
from service.audit import break_glass
from service.desk import Desk
from store.database import Database

WAIT_SECONDS = 10


_notes = Console(stderr=True)


@dataclass(frozen=True)
class System:
    """What an installation's settings say, and the desk of whoever sits at its machine."""

    settings: Settings
    desk: Desk
    access: Access


def known_settings() -> Settings:
    """Those of the environment, else of the endpoints file of a running `make dev`.

    Raises `ConfigurationError` when there is neither.
    """
    return settings_with("database_url", "temporal_address")


def settings_with(*addresses: str) -> Settings:
    """The same for whoever needs these: the first of them says whether something runs."""
    settings = Settings()
    if addresses[0] not in settings.model_fields_set:
        names = " and ".join(each.upper() for each in addresses)
        raise ConfigurationError(
            f"Nothing runs here: start `make dev` in another terminal (it writes {ENDPOINTS_FILE}),"
            f" or set {names}."
        )
    return settings.beside()


@asynccontextmanager
async def connected(statement_seconds: float = 10) -> AsyncIterator[System]:
    """The system itself, past its API. Outside `dev` that is noted before anything else is done."""
    settings = known_settings()
    desk = await desks.connected(
        settings,
        pool_size=1,
        wait_seconds=WAIT_SECONDS,
        statement_seconds=statement_seconds,
    )
    who = at_the_machine(os_user())
    try:
        await note(settings, desk.database, who)
        yield System(settings, desk, who)
    finally:
        await desk.database.dispose()


async def note(settings: Settings, database: Database, who: Access) -> None:
    """That a command works past the API, outside `dev`: before it does anything else."""
    if settings.billing_environment != "dev":
        way = WAY.get()
        await break_glass(database, who, way.command, way.reason)
        _notes.print(f"Past the API, as {who.caller}: noted in the audit trail.", style="dim")
