"""Dead letters: what could not be done, and what no consumer could take."""

from base64 import b64encode
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Using
from api.fields import Document, Empty, Id, PathId, utc
from domain import dead_letter as rules
from domain.access import Access
from domain.message import DeadMessage
from domain.roles import Action
from service import dead_letter

router = APIRouter(
    prefix="/api/v1/dead-letters", tags=["dead letters"], route_class=StrictJSONRoute
)

MESSAGE = "message"


class DeadLetter(Document):
    """What is owed and nobody could collect, or a message of Kafka that no consumer could take.
    The bytes of a message (`kind` is `message`) are in base64: they may be anything."""

    id: Id
    kind: Annotated[str, Field(examples=["invoice"])]
    reference: Annotated[str, Field(description="What it is about.")]
    reason: str
    body: Annotated[dict[str, Any], Field(description="All that is needed to see why.")]
    created_at: datetime


class DeadLetters(Document):
    """What waits for an operator: what is owed, then messages; oldest first."""

    items: list[DeadLetter]


class SeenTo(Document):
    """Somebody has seen to it."""

    id: Id
    repeated: Annotated[bool, Field(description="Somebody had before.")]


@router.get("", response_model=DeadLetters)
async def list_dead_letters(
    access: Annotated[Access, may(Action.DEAD_LETTER_READ)], context: Using
) -> DeadLetters:
    """What waits for an operator."""
    letters, messages = await dead_letter.waiting(context.desk, access)
    return DeadLetters(items=[*map(_document, letters), *map(_message_document, messages)])


@router.post("/{dead_letter_id}/resolve", response_model=SeenTo)
async def resolve_dead_letter(
    dead_letter_id: PathId,
    access: Annotated[Access, may(Action.DEAD_LETTER_RESOLVE)],
    context: Using,
    body: Empty | None = None,
) -> SeenTo:
    """Note that you have seen to it. Harmless to repeat."""
    now = await dead_letter.resolve(context.desk, access, dead_letter_id)
    return SeenTo(id=dead_letter_id, repeated=not now)


def _document(row: rules.DeadLetter) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        kind=row.kind,
        reference=row.reference,
        reason=row.reason,
        body=dict(row.body),
        createdAt=utc(row.created_at),
    )


def _message_document(row: DeadMessage) -> DeadLetter:
    message = row.message
    return DeadLetter(
        id=row.id,
        kind=MESSAGE,
        reference=f"{message.topic}:{message.partition}:{message.offset}",
        reason=row.reason,
        body={
            "consumer": row.consumer,
            "error": row.error,
            "timestamp": message.timestamp,
            "key": _base64(message.key),
            "headers": [{"name": name, "value": _base64(value)} for name, value in message.headers],
            "value": _base64(message.value),
        },
        createdAt=utc(row.created_at),
    )


def _base64(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()
