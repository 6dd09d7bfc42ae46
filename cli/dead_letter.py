"""`billing dead-letter`: what could not be done and waits for an operator."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import typer
from sqlalchemy import Row

from cli.system import Refused, as_id, connected
from cli.words import duration, say
from domain.money import format_amount
from store import dead_letter

app = typer.Typer(help="What could not be done.", no_args_is_help=True)


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a list.")] = False,
) -> None:
    """List what waits for an operator, oldest first."""
    found = asyncio.run(_waiting())
    if as_json:
        typer.echo(orjson.dumps([_document(row) for row in found]))
        return
    if not found:
        say("No dead letters.")
    for row in found:
        age = duration(datetime.now(UTC) - row.created_at)
        say(f"{row.kind} {row.id}: {row.reason}, waits for {age}", style="bold")
        for line in _facts(row):
            say(f"  {line}")


@app.command()
def resolve(id_: Annotated[str, typer.Argument(metavar="ID", help="As listed.")]) -> None:
    """Note that you have seen to it. The same command again is harmless."""
    say(asyncio.run(_resolve(as_id(id_))))


def _facts(row: Row[Any]) -> Iterator[str]:
    """What is owed, what was tried, and what can be done about it."""
    owed = row.body
    amount = format_amount(owed["total"], owed["currency"])
    yield f"{amount} of {owed['customerId']} for {owed['period']}, due {owed['dueAt']}"
    for each in owed["attempts"]:
        why = each["gatewayCode"] or each["failure"]
        yield f"{each['at']} payment {each['paymentId']}: {each['message'] or ''} ({why})"
    yield f"billing invoice pay|paid-outside|write-off|cancel {row.id}"
    yield f"billing dead-letter resolve {row.id}"


async def _waiting() -> list[Row[Any]]:
    async with connected() as system, system.reads.connect() as tx:
        return list(await dead_letter.waiting(tx))


async def _resolve(id_: str) -> str:
    async with connected() as system, system.database.begin() as tx:
        if await dead_letter.resolve(tx, id_):
            return f"The dead letter {id_} is resolved."
        if await dead_letter.find(tx, id_) is None:
            raise Refused(f"There is no dead letter with the id {id_}.")
        return f"The dead letter {id_} was resolved before."


def _document(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "reference": row.reference,
        "reason": row.reason,
        "body": row.body,
        "createdAt": row.created_at,
    }
