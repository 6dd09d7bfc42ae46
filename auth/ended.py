"""Sessions that have ended while an access token of theirs still lives: for whoever asks us at each
request. Only in Redis, for as long as such a token may live; without Redis the tokens go on."""

from collections.abc import Iterable

from redis.exceptions import RedisError

from auth import redis_pool
from domain.signing_key import MAX_TOKEN_LIFE


class Ended:
    """Of every process."""

    def __init__(self, url: str) -> None:
        self._redis = redis_pool.connect(url)

    async def add(self, session_ids: Iterable[str]) -> None:
        """What cannot be written down ends with its tokens, a few minutes later."""
        try:
            for id_ in session_ids:
                await self._redis.set(f"deny:{id_}", "1", ex=MAX_TOKEN_LIFE)
        except (RedisError, OSError):
            return

    async def has(self, session_id: str) -> bool:
        try:
            return bool(await self._redis.exists(f"deny:{session_id}"))
        except (RedisError, OSError):
            return False

    async def close(self) -> None:
        await self._redis.aclose()
