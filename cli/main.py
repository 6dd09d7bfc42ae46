"""The `billing` command."""

import asyncio
import os
import shlex
import sys
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Never

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from cli import demo, dev, integration_demo
from cli.options import example
from cli.refused import Refused
from cli.way import WAY, Way
from runtime.version import VERSION

OPERATORS = {
    "login": "Log in with an issuer of tokens.",
    "whoami": "Who you are to the API.",
    "logout": "Forget the login.",
    "status": "Say whether anything is wrong now.",
    "doctor": "Look whether a process could do its work with these settings.",
    "payment": "Look at payments.",
    "order": "Look at orders.",
    "refund": "Look at refunds.",
    "customer": "Look at customers.",
    "wallet": "Look at wallets.",
    "plan": "Look at price lists.",
    "coupon": "Look at coupons.",
    "webhook": "What payment gateways told unasked.",
    "review": "Decide what only a person may decide.",
    "gateway": "Payment gateways.",
    "outbox": "Events on their way to Kafka.",
    "settlement": "Settle a month for everybody.",
    "invoice": "Look at invoices and decide about them.",
    "proposal": "Decisions that wait for a second person.",
    "dead-letter": "What could not be done.",
    "usage": "What customers consumed.",
    "audit": "Who did what, and the proof of it.",
    "key": "Keys with which customers and services call the API.",
    "verify": "Look whether everything agrees with everything.",
    "restore": "Look what a restored database has lost.",
    "deploy": "Replace the code of the workers.",
    "user": "The people who log in at our own issuer.",
    "auth": "Run our own issuer of tokens, or see to its keys.",
}
"""Commands of operators, most of them groups, each with a module of its own; in the order of the
help."""


class Commands(TyperGroup):
    """Imports the commands of operators when one is called: all of them take seconds, and neither
    the help nor a shell that completes their names needs more than these."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, help_ in OPERATORS.items():
            self.add_command(TyperCommand(name, help=help_))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        ctx.obj = shlex.join(args)
        name, command, rest = super().resolve_command(ctx, args)
        if name in OPERATORS:
            command = get_group(import_module(f"cli.{name.replace('-', '_')}").app)
            command.name = name
        return name, command, rest


app = typer.Typer(
    name="billing",
    cls=Commands,
    help="Payments, billing and settlement, orchestrated by Temporal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo", epilog=example("demo --keep"))(demo.demo)
app.command("integration-demo", epilog=example("integration-demo"))(
    integration_demo.integration_demo
)
app.command("dev", epilog=example("dev --port 8090"))(dev.dev)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"billing {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Say which version this is.", callback=_say_version),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--as", metavar="FILE", help="Show the token in this file (BILLING_TOKEN_FILE)."
        ),
    ] = None,
    direct: Annotated[
        bool,
        typer.Option("--direct", help="Past the API, with the database itself; it is noted."),
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why past the API; kept in the audit trail.")
    ] = None,
) -> None:
    """Payments, billing and settlement, orchestrated by Temporal.

    Commands of operators ask the API at BILLING_API_URL as whoever has logged in.
    """
    WAY.set(Way(ctx.obj or "", direct, reason, token_file))


@app.command(epilog=example("api"))
def api() -> None:
    """Run the HTTP API."""
    from api.app import create_app
    from cli.serving import serve
    from runtime import logs
    from runtime.settings import Settings

    settings = Settings()
    application = create_app(settings)
    logs.configure(settings.log_level)
    serve(application, settings.api_host, settings.api_port)


@app.command(epilog=example("codec-server --port 8085"))
def codec_server(
    port: Annotated[int, typer.Option(help="Where it listens.", min=1, max=65535)] = 8082,
) -> None:
    """Open sealed payloads for operators who read histories in the Temporal UI."""
    from api.codec_server import create_app
    from cli.serving import serve
    from runtime import logs
    from runtime.settings import Settings

    settings = Settings()
    application = create_app(settings)
    logs.configure(settings.log_level)
    serve(application, settings.api_host, port)


@app.command(epilog=example("worker --queues settlement,verification"))
def worker(
    queues: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What it serves, with commas between: payments, settlement, outbox, verification, "
            "consumers. All, unless WORKER_QUEUES says otherwise.",
        ),
    ] = None,
) -> None:
    """Run a worker: workflows, activities, the relay, the sweeper and consumers."""
    import worker as worker_process
    from cli.worker import served

    worker_process.main(None if queues is None else served(queues))


@app.command(epilog=example("migrate"))
def migrate() -> None:
    """Bring the database's schema up to date, as the role that owns the tables."""
    from runtime import schema
    from runtime.settings import Settings

    schema.upgrade(Settings().database_owner_url)


@app.command(epilog=example("seed"))
def seed() -> None:
    """Make what a fresh `make dev` holds, where it is missing; in dev only."""
    from dev.seed import seed_at
    from runtime.settings import ConfigurationError, Settings

    settings = Settings()
    if settings.billing_environment != "dev":
        raise ConfigurationError(
            "Customers and cards of development are no part of production: set "
            "BILLING_ENVIRONMENT=dev where they are."
        )
    asyncio.run(seed_at(settings.database_url))


INTERRUPTED = 130
"""Ctrl-C, as shells count it; Typer leaves with it too."""


def main() -> None:
    """Run the command; whatever a person can mend is a sentence and exit code 1."""
    _stand_on_streams()
    if any("\udc80" <= char <= "\udcff" for char in "".join(sys.argv)):
        _leave("The arguments are not valid UTF-8.")
    try:
        _run()
    except SystemExit as ended:
        if ended.code != INTERRUPTED:
            raise
        _interrupted()
    except BrokenPipeError:
        # Whoever read it has enough, and need not be told.
        _let_go_of_what_cannot_be_written()
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        _interrupted()
    except Refused as refusal:
        # Apart from what follows: most commands end so if at all, and need nothing more for it.
        _leave(str(refusal))
    except Exception as error:
        # Not at the top: it imports whatever can go wrong.
        from cli.errors import in_words

        words = in_words(error)
        if words is None:
            raise
        _leave(words)


def _run() -> None:
    """To the last word: what is still to be written could not be."""
    try:
        app()
    finally:
        sys.stdout.flush()


def _stand_on_streams() -> None:
    """A job may be started without some of them: then nobody types anything, and what is written
    has nowhere to go, which is an error. A terminal that lacks a character is shown its number."""
    for name, access in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            stream = os.fdopen(os.open(os.devnull, access), "r" if name == "stdin" else "w")
            setattr(sys, name, stream)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _interrupted() -> Never:
    """Not sys.exit: an interrupted call to Temporal can keep the interpreter from ending."""
    sys.stdout.flush()
    os._exit(INTERRUPTED)


def _leave(words: str) -> None:
    # Not at the top: the help says nothing of others.
    from cli.words import harmless

    console = Console(stderr=True)
    said = "\n".join(map(harmless, f"billing: {words}".split("\n")))
    console.print(said, style="red", highlight=False, soft_wrap=True, markup=False)
    _let_go_of_what_cannot_be_written()
    sys.exit(1)


def _let_go_of_what_cannot_be_written() -> None:
    """Else the interpreter tries it once more at its end, says so in its own words, and leaves with
    120. The way is that of Python's documentation of SIGPIPE."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
