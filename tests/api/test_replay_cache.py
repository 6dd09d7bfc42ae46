"""Cached answers are sealed with keys; whoever cannot open one asks the database."""

import asyncio
from uuid import uuid4

from redis.asyncio import Redis

from api.redis_pool import CONNECTIONS
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


async def test_a_crowd_opens_no_more_connections_than_there_are_and_asks_the_database() -> None:
    """Who finds all of them taken has a miss, as if nothing were cached."""
    opened = set[asyncio.StreamWriter]()
    most = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        opened.add(writer)
        most = max(most, len(opened))
        while await reader.read(1024):
            pass
        opened.discard(writer)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    cache = ReplayCache(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", NO_KEYS)
    claims = [Claim("dev/c-1", "POST /refunds", uuid4().hex, b"hash") for _ in range(200)]
    try:
        found = await asyncio.gather(*(cache.get(claim, SYSTEM) for claim in claims))
    finally:
        await cache.close()
        server.close()
        await server.wait_closed()

    assert found == [None] * len(claims)
    # Of one that was given up, the end is heard a moment later than the begin of its successor.
    assert 0 < most <= 2 * CONNECTIONS
