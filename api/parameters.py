"""What many routes take beside a body."""

from typing import Annotated

from fastapi import Header, Path

from domain.identifier import UUID

PathId = Annotated[str, Path(pattern=UUID.pattern)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Makes a repeat of this request harmless. Up to 255 visible ASCII characters; "
        '`"k"` and `k` are one key. Required.',
        examples=["order-key-001"],
    ),
]
Traceparent = Annotated[str | None, Header(description="W3C Trace Context: also of the events.")]
