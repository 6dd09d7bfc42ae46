"""A message of Kafka as a consumer has received it, in its very bytes."""

from dataclasses import dataclass
from datetime import datetime

from domain.errors import Rejected

Headers = tuple[tuple[str, bytes | None], ...]

MAX_REASON = 2_000


@dataclass(frozen=True)
class Message:
    """`timestamp` is in milliseconds, as its producer or the broker wrote it: any 64 bits."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    headers: Headers
    value: bytes | None


@dataclass(frozen=True)
class Refused:
    """A message that cannot be taken, and why."""

    message: Message
    error: str
    reason: str


@dataclass(frozen=True)
class DeadMessage:
    """One that a consumer could not take, as it is kept until somebody has seen to it."""

    id: str
    consumer: str
    message: Message
    error: str
    reason: str
    created_at: datetime
    resolved_at: datetime | None


def refused(message: Message, error: Exception) -> Refused:
    """The reason becomes text that can be stored: it may quote the message."""
    name = error.slug if isinstance(error, Rejected) else type(error).__name__
    said = str(error)[:MAX_REASON].encode("utf-8", "backslashreplace").decode()
    return Refused(message, name, said.replace("\x00", "\\x00"))
