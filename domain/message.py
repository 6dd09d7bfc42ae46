"""A message of Kafka as a consumer has received it, in its very bytes."""

from dataclasses import dataclass

from domain.errors import Rejected

Headers = tuple[tuple[str, bytes | None], ...]

MAX_REASON = 2_000

UNREADABLE = "unreadable"
"""The error of what not even the client of Kafka can read: its bytes are not there."""


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


def refused(message: Message, error: Exception) -> Refused:
    """The reason becomes text that can be stored: it may quote the message."""
    name = error.slug if isinstance(error, Rejected) else type(error).__name__
    return Refused(
        message, name, as_text(str(error)[:MAX_REASON].encode("utf-8", "backslashreplace"))
    )


def as_text(value: bytes) -> str:
    """Text that can be stored, whatever bytes there are."""
    return value.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")
