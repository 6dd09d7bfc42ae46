"""What a PG told unasked: a hint, never a fact."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Webhook:
    """An event as it came, once."""

    gateway: str
    event_id: str
    body: Mapping[str, object]
    received_at: datetime


@dataclass(frozen=True)
class Wanted:
    """Which events somebody looks for; what is None does not matter. `until` is not included."""

    gateway: str | None = None
    since: datetime | None = None
    until: datetime | None = None
