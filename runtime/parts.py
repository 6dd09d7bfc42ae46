"""The servers beside PostgreSQL and Temporal, asked how they are."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from redis.asyncio import Redis

from runtime import complaints
from runtime.settings import Settings
from service.status import SECONDS, Ask

_PROTOCOLS, _SESSION = "group.coordinator.rebalance.protocols", "group.consumer.session.timeout.ms"

_log = logging.getLogger(complaints.NAME)


@dataclass(frozen=True)
class Cache:
    """Redis or Valkey. `speaks`: the version of Redis that it is as good as; `at` by its clock."""

    name: str
    version: str
    speaks: str
    at: datetime


@dataclass(frozen=True)
class Brokers:
    """How many of Kafka's brokers are there, and how many partitions each topic has."""

    count: int
    partitions: Mapping[str, int]


def others(settings: Settings) -> dict[str, Ask]:
    """Each by its name, for `service.status`."""

    async def cache() -> str:
        found = await ask_cache(settings.redis_url)
        return f"{found.name} {found.version}"

    async def brokers() -> str:
        found = await ask_brokers(settings.kafka)
        return f"{found.count} brokers"

    return {"Redis": cache, "Kafka": brokers}


async def ask_cache(url: str, seconds: float = SECONDS) -> Cache:
    """Raises what the client raises."""
    client = Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)
    try:
        info = await client.info("server")
        seconds, micros = await client.time()
    finally:
        await client.aclose()
    name = "Valkey" if "valkey_version" in info else "Redis"
    at = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)
    return Cache(name, info[f"{name.lower()}_version"], info["redis_version"], at)


async def ask_brokers(options: Mapping[str, str], seconds: float = SECONDS) -> Brokers:
    """Raises `ConnectionError` in the words of the client."""
    return await asyncio.to_thread(_brokers, options, seconds)


def _brokers(options: Mapping[str, str], seconds: float) -> Brokers:
    # A little less than whoever asks waits: the client says better why nobody answers.
    client = AdminClient(dict(options), logger=_log)
    try:
        metadata = client.list_topics(timeout=0.9 * seconds)
    except KafkaException as error:
        raise ConnectionError(error.args[0].str()) from error
    partitions = {
        name: len(topic.partitions)
        for name, topic in metadata.topics.items()
        if topic.error is None
    }
    return Brokers(len(metadata.brokers), partitions)


async def ask_takeover(options: Mapping[str, str], seconds: float) -> timedelta | None:
    """How long a member of a group may be silent before others get its partitions; None where the
    brokers do not say it, or let the member say."""
    return await asyncio.to_thread(_takeover, options, seconds)


def _takeover(options: Mapping[str, str], seconds: float) -> timedelta | None:
    asking = AdminClient(dict(options), logger=_log)
    try:
        broker, *_ = asking.list_topics(timeout=seconds).brokers
        which = ConfigResource(ResourceType.BROKER, str(broker))
        [told] = asking.describe_configs([which], request_timeout=seconds).values()
        found = {name: entry.value for name, entry in told.result().items()}
    except KafkaException:
        return None
    if "consumer" not in found.get(_PROTOCOLS, "") or _SESSION not in found:
        return None
    return timedelta(milliseconds=int(found[_SESSION]))
