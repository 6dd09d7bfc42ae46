"""What workers say of the PGs, through Valkey, to whoever wants to know.

Only for showing: nothing is decided by it. What a worker said is gone `KEPT_SECONDS` later unless
it says so again, so one that was killed does not go on telling that all is well.
"""

from collections import defaultdict
from collections.abc import Mapping

from pydantic import TypeAdapter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.gateway_health import Health, Reported

KEPT_SECONDS = 10
EVERY_SECONDS = 2.0
_WORKERS = "gateway-reports"
_TOLD = TypeAdapter(dict[str, Health])


class NotTold(Exception):
    """Valkey does not take, or does not show, what workers say."""


class Reports:
    """A key for each worker, and the set of those who have ever spoken."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(
            url, socket_timeout=0.5, socket_connect_timeout=0.5, decode_responses=True
        )

    async def put(self, worker: str, told: Mapping[str, Health]) -> None:
        """What this worker sees of each PG; raises `NotTold`."""
        try:
            async with self._redis.pipeline() as pipe:
                pipe.set(_key(worker), _TOLD.dump_json(dict(told)), ex=KEPT_SECONDS)
                pipe.sadd(_WORKERS, worker)
                await pipe.execute()
        except (RedisError, OSError) as error:
            raise NotTold(str(error)) from error

    async def all(self) -> Mapping[str, list[Reported]]:
        """What is believed of each PG: nothing where nobody has spoken lately, or Valkey is
        away."""
        found: defaultdict[str, list[Reported]] = defaultdict(list)
        try:
            for worker in sorted(await self._workers()):
                for gateway, reported in (await self._of(worker)).items():
                    found[gateway].append(reported)
        except (RedisError, OSError, ValueError):
            return {}
        return found

    async def close(self) -> None:
        await self._redis.aclose()

    async def _workers(self) -> set[str]:
        return set(map(str, await self._redis.smembers(_WORKERS)))

    async def _of(self, worker: str) -> dict[str, Reported]:
        async with self._redis.pipeline() as pipe:
            pipe.get(_key(worker))
            pipe.pttl(_key(worker))
            told, left = await pipe.execute()
        if told is None:
            # Should it speak at this very moment, it will be in the set again with its next words.
            await self._redis.srem(_WORKERS, worker)
            return {}
        age = max(0.0, KEPT_SECONDS - left / 1000)
        return {
            name: Reported(worker, health, age)
            for name, health in _TOLD.validate_json(told).items()
        }


def _key(worker: str) -> str:
    return f"gateway-report:{worker}"
