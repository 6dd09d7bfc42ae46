"""The running system as an operator's command finds it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from temporalio.client import Client

from domain.identifier import UUID, has_form
from runtime import temporal
from runtime.settings import ENDPOINTS_FILE, ConfigurationError, Settings
from store import database
from store.database import Database, reading

EXAMPLE_ID = "019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11"


class Refused(Exception):
    """A command that cannot do what it was asked for; the text is one sentence for a person."""


@dataclass(frozen=True)
class System:
    """Connections that are made when first used."""

    settings: Settings
    database: Database
    temporal: Client

    @cached_property
    def reads(self) -> Database:
        """For whatever is only read."""
        return reading(self.database)

    def link(self, workflow_id: str) -> str | None:
        """The page of a workflow in the Temporal UI."""
        settings = self.settings
        if not settings.temporal_ui_url:
            return None
        pages = f"{settings.temporal_ui_url}/namespaces/{settings.temporal_namespace}/workflows"
        return f"{pages}/{quote(workflow_id, safe='')}"


@asynccontextmanager
async def connected(statement_seconds: float = 10) -> AsyncIterator[System]:
    """The system of the environment, else of the endpoints file of a running `make dev`.

    Raises `ConfigurationError` when there is neither.
    """
    settings = Settings()
    if "database_url" not in settings.model_fields_set:
        raise ConfigurationError(
            f"Nothing runs here: start `make dev` in another terminal (it writes {ENDPOINTS_FILE}),"
            " or set DATABASE_URL and TEMPORAL_ADDRESS."
        )
    pool = database.connect(settings.database_url, pool_size=1, statement_seconds=statement_seconds)
    try:
        yield System(settings, pool, await temporal.connect_later(settings))
    finally:
        await pool.dispose()


def as_id(text: str) -> str:
    """An id in the form that the database compares; raises `Refused` for what is none."""
    if not has_form(text, UUID):
        raise Refused(f"{text!r} is not an id: they look like {EXAMPLE_ID}.")
    return text.lower()
