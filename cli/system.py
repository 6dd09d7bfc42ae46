"""The running system as an operator's command finds it."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

from domain.access import OPERATOR
from domain.event import Origin
from domain.identifier import UUID, has_form
from runtime import desk as desks
from runtime.settings import ENDPOINTS_FILE, ConfigurationError, Settings
from service.call import Answer, Call
from service.desk import Desk
from store.idempotency import Claim, StoredAnswer

WAIT_SECONDS = 10
EXAMPLE_ID = "019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11"


class Refused(Exception):
    """A command that cannot do what it was asked for; the text is one sentence for a person."""


@dataclass(frozen=True)
class System:
    """What an installation's settings say, and the desk of whoever sits at its command line."""

    settings: Settings
    desk: Desk

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
    settings = settings_found()
    desk = await desks.connected(
        settings,
        pool_size=1,
        wait_seconds=WAIT_SECONDS,
        statement_seconds=statement_seconds,
    )
    try:
        yield System(settings, desk)
    finally:
        await desk.database.dispose()


def settings_found() -> Settings:
    """Raises `ConfigurationError` where nothing says where the system is."""
    settings = Settings()
    if "database_url" not in settings.model_fields_set:
        raise ConfigurationError(
            f"Nothing runs here: start `make dev` in another terminal (it writes {ENDPOINTS_FILE}),"
            " or set DATABASE_URL and TEMPORAL_ADDRESS."
        )
    return settings


def call(*words: str) -> Call:
    """Of an operator; the same words, sent twice, are one wish."""
    text = "\n".join(words)
    key = hashlib.sha256(text.encode())
    claim = Claim(OPERATOR.caller, f"billing {words[0]}", key.hexdigest(), key.digest())
    return Call(OPERATOR, claim, Origin())


Value = TypeVar("Value")


def decided(answer: Answer[Value] | StoredAnswer) -> Value:
    """What a decision came to. Raises `Refused` where nobody took it yet."""
    assert isinstance(answer, Answer), "no command keeps an answer"
    if not answer.final:
        raise Refused(
            f"No worker took the decision within {WAIT_SECONDS} s: see that one runs, then repeat "
            "the same command."
        )
    return answer.value


def as_id(text: str) -> str:
    """An id in the form that the database compares; raises `Refused` for what is none."""
    if not has_form(text, UUID):
        raise Refused(f"{text!r} is not an id: they look like {EXAMPLE_ID}.")
    return text.lower()
