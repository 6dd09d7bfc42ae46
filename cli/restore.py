"""`billing restore`: what to do about a database that was restored from a dump."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer

from cli import table
from cli.options import MOMENTS, example
from cli.system import connected
from cli.words import say
from domain.restore import Remembered, Standing
from service.restore import compare
from store.database import BATCH_SECONDS

WHAT_TO_DO = {
    Standing.SET_BACK: "{} go on by themselves: they ask the PG what became of their calls.",
    Standing.LOST: "{} have left nothing here: see what they did in the Temporal UI.",
    Standing.STRANDED: "{} can never end: see them in the Temporal UI, then terminate them.",
}

app = typer.Typer(help="Look what a restored database has lost.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A group, as there may be more to do one day than to compare."""


@app.command("compare", epilog=example("restore compare 2026-11-27T04:00:00+0000"))
def compare_(
    since: Annotated[datetime, typer.Argument(formats=MOMENTS, help="When the dump was begun.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare a restored database with what Temporal remembers of the time after the dump, payment
    by payment, refund, invoice and month. Changes nothing.

    Exit code 1 when something of it is lost here.
    """
    since = since if since.tzinfo else since.replace(tzinfo=UTC)
    found = sorted(asyncio.run(_compared(since)), key=lambda each: each[0].began_at)
    if as_json:
        typer.echo(orjson.dumps([_document(*each) for each in found]))
    else:
        _tell(found)
    if any(standing is not Standing.SET_BACK for _, standing in found):
        raise typer.Exit(1)


async def _compared(since: datetime) -> list[tuple[Remembered, Standing]]:
    async with connected(BATCH_SECONDS) as system:
        return [each async for each in compare(system.desk.database, system.desk.temporal, since)]


def _tell(found: list[tuple[Remembered, Standing]]) -> None:
    if not found:
        say("All that Temporal remembers is known here.")
        return
    headings = ("beganAt", "standing", "customerId", "workflowId")
    rows = [
        (table.cell(each.began_at), standing, each.customer_id, each.workflow_id)
        for each, standing in found
    ]
    table.tell(headings, rows, ())
    for standing, words in WHAT_TO_DO.items():
        if count := sum(each is standing for _, each in found):
            say(f"{standing}: {words.format(f'{count:,}')}", style="bold")


def _document(each: Remembered, standing: Standing) -> dict[str, object]:
    return {
        "standing": standing,
        "workflowId": each.workflow_id,
        "noun": each.noun,
        "customerId": each.customer_id,
        "beganAt": each.began_at,
        "runs": each.runs,
    }
