"""A dead letter: what could not be done and waits for an operator."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class DeadLetter:
    """`reference` names what it is about, `body` is everything that is needed to see why."""

    id: str
    kind: str
    reference: str
    reason: str
    body: Mapping[str, Any]
    created_at: datetime
    resolved_at: datetime | None
