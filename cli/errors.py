"""What a person can mend, in words."""

import errno
import os

from alembic.util import CommandError
from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from temporalio.service import RPCError

from cli.refused import Refused
from cli.settings import ClientSettings
from dev.demo.verdict import Unexpected
from dev.process import StackError
from domain.errors import Rejected
from runtime.settings import ConfigurationError, Settings, unusable
from service.asking import in_short
from service.temporal import TemporalUnreachable

ADDRESSES = frozenset({"DATABASE_URL", "DATABASE_OWNER_URL", "AUTH_DATABASE_URL"})
OF_CLIENTS_AND_SERVERS = frozenset({Settings.__name__, ClientSettings.__name__})
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What goes wrong with a file that is written, and with no connection."""
TOO_MANY_CONNECTIONS = "53300"
FULL = (
    "PostgreSQL has no connection left for us: raise its `max_connections`, or lower "
    "DATABASE_POOL_SIZE of the processes that run (docs/operations.md says how many each takes)."
)
NOTHING_RUNS = "Nothing runs here: start `make dev` in another terminal."


def in_words(error: Exception) -> str | None:
    """What to tell a person; None for an error that is ours."""
    words = _sentence(error)
    return None if words is None else "\n".join([words, *getattr(error, "__notes__", ())])


def _sentence(error: Exception) -> str | None:
    match error:
        case Refused() | StackError() | Unexpected() | ConfigurationError() | CommandError():
            return str(error)
        case ValidationError() if error.title in OF_CLIENTS_AND_SERVERS:
            return unusable(error)
        case SettingsError():
            return unusable(error)
        case OSError(filename=str() as name):
            return f"{name} cannot be used: {error.strerror}."
        case OSError() if error.errno in UNWRITABLE:
            return f"It cannot be written: {error.strerror}."
        case Rejected():
            return str(error)
        case TemporalUnreachable() | RPCError():
            return f"Temporal cannot be used: {error}. Repeat the same command later."
        case SQLAlchemyError() | OSError():
            return _no_database(error)
    return None


def _no_database(error: SQLAlchemyError | OSError) -> str:
    if getattr(getattr(error, "orig", None), "sqlstate", None) == TOO_MANY_CONNECTIONS:
        return FULL
    if isinstance(error, ArgumentError):
        return f"The database cannot be used: {error}."
    nobody_answers = isinstance(error, OSError) and not isinstance(error, TimeoutError)
    if nobody_answers and not ADDRESSES & os.environ.keys():
        return NOTHING_RUNS
    words = "nobody answers" if nobody_answers else in_short(error)
    return (
        f"The database cannot be used: {words}. Is it running, is its address right, and is its "
        "schema up to date (`billing migrate`)?"
    )
