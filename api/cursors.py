"""Opaque cursors: signed, and bound to the filter that they were made for.

A cursor is a position in an order that never changes (created at, id), so a crawl neither doubles
nor misses a row that was there throughout, whatever is inserted meanwhile.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import datetime
from typing import NamedTuple

import orjson
from pydantic import TypeAdapter

from domain.errors import InvalidRequest

_MAC_BYTES = 16


class Position(NamedTuple):
    """After which row the next page begins."""

    created_at: datetime
    id: str


_POSITION = TypeAdapter(Position)


def encode(secret: str, position: Position, filters: dict[str, str | None]) -> str:
    """A cursor for the page after this position."""
    place = orjson.dumps([position.created_at, position.id])
    return _text(_mac(secret, place, filters) + place)


def decode(secret: str, cursor: str, filters: dict[str, str | None]) -> Position:
    """Raises `InvalidRequest` for a cursor that is not ours, or that belongs to another filter."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("The cursor is not one that we gave.") from error
    mac, place = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    # Decoding passes over foreign characters and spare bits: one position has one cursor.
    ours = hmac.compare_digest(mac, _mac(secret, place, filters))
    if not ours or _text(raw) != cursor:
        raise InvalidRequest("The cursor is not one that we gave for this filter.")
    return _POSITION.validate_json(place)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _mac(secret: str, place: bytes, filters: dict[str, str | None]) -> bytes:
    bound = place + b"\n" + orjson.dumps(filters, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(secret.encode(), bound, hashlib.sha256)[:_MAC_BYTES]
