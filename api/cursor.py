"""Opaque cursors: signed, and bound to the filter that they were made for.

A cursor is a place in an order that never changes, and what could be seen when it was made: a row
that gets its place before its transaction commits can come up behind it, and is given then with the
page that follows. So whoever reads on from a cursor, now or later, doubles nothing and misses
nothing, whatever is inserted meanwhile.
"""

import base64
import binascii
import hashlib
import hmac
from typing import TypeVar

import orjson
from pydantic import TypeAdapter

from domain.errors import InvalidRequest
from runtime.settings import Secrets
from service.page import Ascent, Position
from store.page import Place

_MAC_BYTES = 16


MAX_LENGTH = 4_000
"""As long as a cursor gets while a hundred transactions are under way."""


At = TypeVar("At", Position, Ascent, Place)


def encode(
    secrets: Secrets, place: Position | Ascent | Place, filters: dict[str, str | None]
) -> str:
    """A cursor for the page after this place, signed with the first secret."""
    written = TypeAdapter(type(place)).dump_json(place)
    return _text(_mac(secrets[0], written, filters) + written)


def decode(secrets: Secrets, cursor: str, filters: dict[str, str | None], kind: type[At]) -> At:
    """Raises `InvalidRequest` for a cursor that none of our secrets has signed, or that belongs to
    another filter."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("The cursor is not one that we gave.") from error
    mac, place = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    # Decoding passes over foreign characters and spare bits: one position has one cursor.
    ours = any(hmac.compare_digest(mac, _mac(each, place, filters)) for each in secrets)
    if not ours or _text(raw) != cursor:
        raise InvalidRequest("The cursor is not one that we gave for this filter.")
    return TypeAdapter(kind).validate_json(place)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _mac(secret: str, place: bytes, filters: dict[str, str | None]) -> bytes:
    bound = place + b"\n" + orjson.dumps(filters, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(secret.encode(), bound, hashlib.sha256)[:_MAC_BYTES]
