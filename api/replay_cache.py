"""Final answers in Valkey/Redis, so that most repeats ask no database.

Only a cache of what can never change: losing it, or the whole server, changes latency and nothing
else. Every fault is a miss, and so is a crowd: who gets no connection in a moment asks the
database. With keys the answers are sealed: a body may say what is personal.
"""

import hashlib
from typing import NamedTuple

import orjson
from pydantic import TypeAdapter
from redis.exceptions import RedisError

from api import redis_pool
from domain.access import Scope
from domain.errors import KeyReused
from store.idempotency import Claim, StoredAnswer
from store.key_ring import KeyRing, Tampered, UnknownKey

KEPT_SECONDS = 24 * 3600
PATIENCE_SECONDS = 0.1


class _Kept(NamedTuple):
    request_hash: str
    status: int
    body: str


_KEPT = TypeAdapter(_Kept)


class ReplayCache:
    """Stored answers by claim."""

    def __init__(self, url: str, keys: KeyRing) -> None:
        self._keys = keys
        self._redis = redis_pool.connect(url, PATIENCE_SECONDS)

    async def get(self, claim: Claim, scope: Scope) -> StoredAnswer | None:
        """The final answer of this claim, if cached; raises `KeyReused` for another request. As in
        the database it is there for whom it was given: `scope`."""
        name = _name(claim, scope)
        try:
            cached = await self._redis.get(name)
        except (RedisError, OSError):
            return None
        if cached is None:
            return None
        try:
            text = cached.decode() if isinstance(cached, bytes) else cached
            kept = _KEPT.validate_json(self._keys.open_text(text, name))
        except (ValueError, UnknownKey, Tampered):
            return None
        if kept.request_hash != claim.request_hash.hex():
            raise KeyReused("Use a new Idempotency-Key for a new request.")
        return StoredAnswer(kept.status, kept.body)

    async def put(self, claim: Claim, scope: Scope, answer: StoredAnswer) -> None:
        """Keep a final answer for a day, if the server can be reached."""
        value = _KEPT.dump_json(_Kept(claim.request_hash.hex(), answer.status, answer.body))
        name = _name(claim, scope)
        sealed = self._keys.seal_text(value.decode(), name)
        try:
            await self._redis.set(name, sealed, ex=KEPT_SECONDS)
        except (RedisError, OSError):
            return

    async def close(self) -> None:
        await self._redis.aclose()


def _name(claim: Claim, scope: Scope) -> str:
    identity = orjson.dumps([claim.caller, claim.route, claim.key, scope.id])
    return f"replay:{hashlib.sha256(identity).hexdigest()}"
