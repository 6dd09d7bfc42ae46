"""The keys that our own issuer signs tokens with: which of them, and which it publishes, is told by
the time alone, so that nothing has to be switched and two processes agree."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MAX_TOKEN_LIFE = timedelta(minutes=10)
"""Of an access token."""
PUBLISHED_BEFORE = timedelta(minutes=15)
"""How long a key is published before it signs: whoever checks tokens asks every ten minutes."""
PUBLISHED_AFTER = MAX_TOKEN_LIFE + timedelta(minutes=5)
"""How long after its successor took over: the last tokens live so long, and clocks differ."""


@dataclass(frozen=True)
class SigningKey:
    """`id` is the `kid` of tokens, `public` the JSON Web Key. `withdrawn_at`: it has leaked."""

    id: str
    public: Mapping[str, str]
    created_at: datetime
    signs_from: datetime
    withdrawn_at: datetime | None = None


class Standing(StrEnum):
    NEXT = "next"
    CURRENT = "current"
    RETIRED = "retired"
    """It signs no more, and what it has signed is still believed."""
    GONE = "gone"


def standings(keys: Iterable[SigningKey], now: datetime) -> dict[str, Standing]:
    """Of every key, by id."""
    found: dict[str, Standing] = {}
    successor: datetime | None = None
    for key in sorted(keys, key=lambda each: (each.signs_from, each.id), reverse=True):
        found[key.id] = _standing(key, successor, now)
        if found[key.id] in (Standing.CURRENT, Standing.RETIRED):
            successor = key.signs_from
    return found


def _standing(key: SigningKey, successor: datetime | None, now: datetime) -> Standing:
    if key.withdrawn_at is not None:
        return Standing.GONE
    if key.signs_from > now:
        return Standing.NEXT
    if successor is None:
        return Standing.CURRENT
    return Standing.RETIRED if now < successor + PUBLISHED_AFTER else Standing.GONE


def current(keys: Iterable[SigningKey], now: datetime) -> str | None:
    """The id of the key that signs; None before the first one."""
    found = standings(keys, now)
    return next((id_ for id_, standing in found.items() if standing is Standing.CURRENT), None)


def published(keys: Iterable[SigningKey], now: datetime) -> list[SigningKey]:
    """Those by which a token may be believed, soon, now or still."""
    every = list(keys)
    found = standings(every, now)
    return [key for key in every if found[key.id] is not Standing.GONE]


def is_due(keys: Iterable[SigningKey], now: datetime, age: timedelta) -> bool:
    """Whether another key should be made: there is none, or the last one is old."""
    good = [key for key in keys if key.withdrawn_at is None]
    return not good or max(key.signs_from for key in good) + age <= now
