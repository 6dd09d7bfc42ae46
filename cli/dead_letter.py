"""`billing dead-letter`: what could not be done, and what no consumer could take."""

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import typer

from cli.system import as_id, connected
from cli.words import duration, say
from domain.dead_letter import DeadLetter
from domain.message import DeadMessage
from domain.money import format_amount
from service import dead_letter

SHOWN = 80
"""So many bytes of a message are shown; `--json` has all."""

app = typer.Typer(help="What could not be done.", no_args_is_help=True)


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a list.")] = False,
) -> None:
    """List what waits for an operator: what is owed, then messages of Kafka; oldest first."""
    letters, messages = asyncio.run(_waiting())
    if as_json:
        documents = [*map(_document, letters), *map(_message_document, messages)]
        typer.echo(orjson.dumps(documents))
        return
    if not letters and not messages:
        say("No dead letters.")
    for row in letters:
        age = duration(datetime.now(UTC) - row.created_at)
        say(f"{row.kind} {row.id}: {row.reason}, waits for {age}", style="bold")
        for line in _facts(row):
            say(f"  {line}")
    for dead in messages:
        age = duration(datetime.now(UTC) - dead.created_at)
        say(f"message {dead.id} for {dead.consumer}, waits for {age}", style="bold")
        for line in _message_facts(dead):
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


def _message_facts(row: DeadMessage) -> Iterator[str]:
    """Where it was, why it could not be taken, and how it begins."""
    message = row.message
    yield f"{message.topic}, partition {message.partition}, offset {message.offset}"
    yield f"{row.reason.splitlines()[0] if row.reason else ''} ({row.error})"
    if message.value is not None:
        start = message.value[:SHOWN].decode("utf-8", "backslashreplace")
        yield f"{len(message.value):,} bytes: {start!r}{'…' if len(message.value) > SHOWN else ''}"
    yield f"billing dead-letter resolve {row.id}"


async def _waiting() -> tuple[list[DeadLetter], list[DeadMessage]]:
    async with connected() as system:
        return await dead_letter.waiting(system.desk, system.access)


async def _resolve(id_: str) -> str:
    async with connected() as system:
        now = await dead_letter.resolve(system.desk, system.access, id_)
    return f"The dead letter {id_} {'is resolved' if now else 'was resolved before'}."


def _document(row: DeadLetter) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "reference": row.reference,
        "reason": row.reason,
        "body": row.body,
        "createdAt": row.created_at,
    }


def _message_document(row: DeadMessage) -> dict[str, Any]:
    """Bytes are in base64: they may be anything."""
    message = row.message
    return {
        "id": row.id,
        "kind": "message",
        "reference": f"{message.topic}:{message.partition}:{message.offset}",
        "reason": row.reason,
        "body": {
            "consumer": row.consumer,
            "error": row.error,
            "timestamp": message.timestamp,
            "key": _base64(message.key),
            "headers": [{"name": name, "value": _base64(value)} for name, value in message.headers],
            "value": _base64(message.value),
        },
        "createdAt": row.created_at,
    }


def _base64(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()
