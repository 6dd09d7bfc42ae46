"""`billing dead-letter`: what could not be done, and what no consumer could take."""

import asyncio
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer

from api.dead_letter import MESSAGE, DeadLetter, DeadLetters, SeenTo
from cli.calling import calling
from cli.system import as_id
from cli.words import duration, say
from domain.money import format_amount

SHOWN = 80
"""So many bytes of a message are shown; `--json` has all."""

app = typer.Typer(help="What could not be done.", no_args_is_help=True)


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a list.")] = False,
) -> None:
    """List what waits for an operator: what is owed, then messages of Kafka; oldest first."""
    found = asyncio.run(_waiting())
    if as_json:
        typer.echo(orjson.dumps([each.model_dump(mode="json") for each in found.items]))
        return
    if not found.items:
        say("No dead letters.")
    for row in found.items:
        age = duration(datetime.now(UTC) - row.created_at)
        if row.kind == MESSAGE:
            say(f"message {row.id} for {row.body['consumer']}, waits for {age}", style="bold")
        else:
            say(f"{row.kind} {row.id}: {row.reason}, waits for {age}", style="bold")
        for line in _message_facts(row) if row.kind == MESSAGE else _facts(row):
            say(f"  {line}")


@app.command()
def resolve(id_: Annotated[str, typer.Argument(metavar="ID", help="As listed.")]) -> None:
    """Note that you have seen to it. The same command again is harmless."""
    say(asyncio.run(_resolve(as_id(id_))))


def _facts(row: DeadLetter) -> Iterator[str]:
    """What is owed, what was tried, and what can be done about it."""
    body = row.body
    amount = format_amount(body["total"], body["currency"])
    yield f"{amount} of {body['customerId']} for {body['period']}, due {body['dueAt']}"
    for each in body["attempts"]:
        why = each["gatewayCode"] or each["failure"]
        yield f"{each['at']} payment {each['paymentId']}: {each['message'] or ''} ({why})"
    yield f"billing invoice pay|paid-outside|write-off|cancel {row.id}"
    yield f"billing dead-letter resolve {row.id}"


def _message_facts(row: DeadLetter) -> Iterator[str]:
    """Where it was, why it could not be taken, and how it begins."""
    topic, partition, offset = row.reference.rsplit(":", 2)
    yield f"{topic}, partition {partition}, offset {offset}"
    yield f"{row.reason.splitlines()[0] if row.reason else ''} ({row.body['error']})"
    if row.body["value"] is not None:
        value = b64decode(row.body["value"])
        start = value[:SHOWN].decode("utf-8", "backslashreplace")
        yield f"{len(value):,} bytes: {start!r}{'…' if len(value) > SHOWN else ''}"
    yield f"billing dead-letter resolve {row.id}"


async def _waiting() -> DeadLetters:
    async with calling() as api:
        return (await api.get("/api/v1/dead-letters")).read(DeadLetters)


async def _resolve(id_: str) -> str:
    async with calling() as api:
        seen = (await api.post(f"/api/v1/dead-letters/{id_}/resolve")).read(SeenTo)
    return f"The dead letter {id_} {'was resolved before' if seen.repeated else 'is resolved'}."
