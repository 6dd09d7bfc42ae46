"""Cached answers are sealed with keys; whoever cannot open one asks the database."""

from uuid import uuid4

from redis.asyncio import Redis

from api.replay_cache import ReplayCache
from domain.access import SYSTEM
from runtime.settings import Settings
from store.idempotency import Claim, StoredAnswer
from store.key_ring import NO_KEYS, parse
from tests.support.sealing import NEW, OLD


async def test_an_answer_is_read_with_its_key_and_is_a_miss_without(settings: Settings) -> None:
    claim = Claim("dev/c-1", "POST /refunds", uuid4().hex, b"hash")
    answer = StoredAnswer(201, '{"reason": "Mrs Kim called"}')
    sealing = ReplayCache(settings.redis_url, parse(OLD))
    renewed = ReplayCache(settings.redis_url, parse(f"{NEW},{OLD}"))
    others = [ReplayCache(settings.redis_url, keys) for keys in (parse(NEW), NO_KEYS)]

    await sealing.put(claim, SYSTEM, answer)

    assert await sealing.get(claim, SYSTEM) == await renewed.get(claim, SYSTEM) == answer
    for other in others:
        assert await other.get(claim, SYSTEM) is None
    async with Redis.from_url(settings.redis_url) as redis:
        kept = [await redis.get(key) async for key in redis.scan_iter("replay:*")]
    assert not any("Kim" in str(each) for each in kept)
    for cache in (sealing, renewed, *others):
        await cache.close()
