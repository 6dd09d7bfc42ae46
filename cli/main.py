"""The `billing` command."""

import asyncio
import os
import sys
from typing import Never

import typer
import uvicorn
from alembic.util import CommandError
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

import worker as worker_process
from api.app import create_app
from cli import dead_letter, demo, dev, invoice, outbox, payment, review, settlement, usage
from cli.system import Refused
from dev.process import StackError
from runtime import logs, schema
from runtime.settings import ConfigurationError, Settings

app = typer.Typer(
    name="billing",
    help="Payments, billing and settlement, orchestrated by Temporal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("dev")(dev.dev)
app.add_typer(payment.app, name="payment")
app.add_typer(review.app, name="review")
app.add_typer(outbox.app, name="outbox")
app.add_typer(settlement.app, name="settlement")
app.add_typer(invoice.app, name="invoice")
app.add_typer(dead_letter.app, name="dead-letter")
app.add_typer(usage.app, name="usage")


@app.command()
def api() -> None:
    """Run the HTTP API."""
    settings = Settings()
    application = create_app(settings)
    logs.configure(settings.log_level)
    config = uvicorn.Config(
        application,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run()


@app.command()
def worker() -> None:
    """Run a worker: workflows, activities, relays and the sweeper."""
    worker_process.main()


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date, as the role that owns the tables."""
    schema.upgrade(Settings().database_owner_url)


INTERRUPTED = 130
"""Ctrl-C, as shells count it; Typer leaves with it too."""


def main() -> None:
    """Run the command; whatever a person can mend is one sentence and exit code 1."""
    if any("\udc80" <= char <= "\udcff" for char in "".join(sys.argv)):
        _leave("The arguments are not valid UTF-8.")
    try:
        app()
    except (Refused, StackError, ConfigurationError, CommandError) as error:
        _leave(str(error))
    except ValidationError as error:
        _leave(_wrong_setting(error))
    except SettingsError as error:
        _leave(f"A setting is not valid JSON: {error}.")
    except (SQLAlchemyError, OSError) as error:
        _leave(_unusable(error))
    except SystemExit as ended:
        if ended.code != INTERRUPTED:
            raise
        _interrupted()
    except (KeyboardInterrupt, asyncio.CancelledError):
        _interrupted()


def _interrupted() -> Never:
    """Not sys.exit: an interrupted call to Temporal can keep the interpreter from ending."""
    sys.stdout.flush()
    os._exit(INTERRUPTED)


def _wrong_setting(error: ValidationError) -> str:
    if error.title != Settings.__name__:
        raise error
    first = error.errors()[0]
    words = first["msg"].removeprefix("Value error, ")
    return f"The setting {str(first['loc'][0]).upper()} cannot be used: {words}."


def _unusable(error: SQLAlchemyError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be used: {error.strerror}."
    words = str(error).splitlines()[0].rstrip(".")
    return (
        f"The database cannot be used: {words}. Is it running, is its address right, and its "
        "schema up to date (`billing migrate`)?"
    )


def _leave(sentence: str) -> None:
    Console(stderr=True).print(f"billing: {sentence}", style="red", highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
