"""Sessions of our own issuer that have ended while an access token of theirs is still believed:
whoever logged out, was shut out or had a refresh token stolen changes nothing any more.

Only in Redis, for as long as such a token may live (decision 54).
"""

from collections.abc import Iterable
from datetime import timedelta

from redis.exceptions import RedisError
from starlette.types import ASGIApp, Receive, Scope, Send

from api import redis_pool
from api.errors import problem, unavailable
from domain.access import Access
from domain.errors import Unauthenticated
from domain.signing_key import MAX_TOKEN_LIFE
from runtime.issuer import MAX_LEEWAY_SECONDS

KEPT = MAX_TOKEN_LIFE + timedelta(seconds=MAX_LEEWAY_SECONDS)
"""Longer than anybody believes a token that was signed when its session ended."""
LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
"""What changes nothing, and so asks nobody."""

PATIENCE_SECONDS = 5.0
"""How long Redis may take. No answer shuts staff out, so a busy moment must not be taken for one; a
Redis that is gone says so at once."""

AWAY = (RedisError, OSError)


class Ended:
    """Of every process."""

    def __init__(self, url: str) -> None:
        self._redis = redis_pool.connect(url, PATIENCE_SECONDS)

    async def add(self, session_ids: Iterable[str]) -> None:
        """What cannot be written down ends with its tokens, a few minutes later."""
        try:
            for id_ in session_ids:
                await self._redis.set(f"deny:{id_}", "1", ex=KEPT)
        except AWAY:
            return

    async def has(self, session_id: str) -> bool:
        """Raises what is in `AWAY` where that cannot be known."""
        return bool(await self._redis.exists(f"deny:{session_id}"))

    async def close(self) -> None:
        await self._redis.aclose()


class Ongoing:
    """ASGI middleware, once it is known who calls. `alias`: how our own issuer is called here; the
    sessions of others end elsewhere."""

    def __init__(self, app: ASGIApp, ended: Ended, alias: str) -> None:
        self._app = app
        self._ended = ended
        self._alias = alias

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        access: Access | None = scope.get("state", {}).get("access")
        if access is not None and self._concerns(access) and scope["method"] not in LOOKS:
            try:
                if await self._ended.has(access.session_id):
                    await problem(over(), scope["path"])(scope, receive, send)
                    return
            except AWAY as error:
                # A customer reaches its own things only, and goes on; staff reaches everybody's.
                if access.for_everybody:
                    await unavailable(scope["path"], error)(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _concerns(self, access: Access) -> bool:
        return bool(access.session_id) and access.caller.startswith(f"{self._alias}/")


def over() -> Unauthenticated:
    """What whoever shows a token of such a session hears."""
    return Unauthenticated("The session of this token has ended: log in again.", presented=True)
