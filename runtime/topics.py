"""Our own topics: a worker makes those that are missing when it starts, and alters none."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from domain.event import DLT_SUFFIX, PARTITIONS, TOPICS
from runtime import complaints, parts
from runtime.settings import Settings

DEAD_LETTERS_STAY = timedelta(days=90)
"""On their topics; on the others what the brokers say."""
SECONDS = 10.0
"""How long the brokers may take to make them."""
AGAIN_SECONDS = 5.0
REFUSED_SECONDS = 60.0

_client_log = logging.getLogger(complaints.NAME)
log = structlog.get_logger()


async def make_sooner_or_later(settings: Settings) -> None:
    """Make what is missing, until nothing is. What the brokers refuse is said once and tried again:
    somebody may give us the right, or start another broker."""
    said: Mapping[str, str] = {}
    while True:
        try:
            there = (await parts.ask_brokers(settings.kafka)).partitions
        except ConnectionError:  # The client says so itself.
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        refused = await make(settings, missing(there))
        for topic, error in refused.items():
            if said.get(topic) != str(error):
                log.error("a topic is missing and cannot be made here", topic=topic, error=error)
        if not refused:
            break
        said = {topic: str(error) for topic, error in refused.items()}
        await asyncio.sleep(REFUSED_SECONDS)
    for topic, count in uneven(there).items():
        log.warning("a topic has other partitions and stays so", topic=topic, partitions=count)


def missing(partitions: Mapping[str, int]) -> list[str]:
    """Those of ours that are not among these."""
    return [str(topic) for topic in TOPICS if not partitions.get(topic)]


def uneven(partitions: Mapping[str, int]) -> dict[str, int]:
    """Those of ours with another number of partitions than they should have. Of dead letters any
    number will do."""
    found = {str(topic): partitions.get(topic, 0) for topic in TOPICS}
    return {
        topic: count
        for topic, count in found.items()
        if count not in (0, PARTITIONS) and not topic.endswith(DLT_SUFFIX)
    }


async def make(settings: Settings, topics: Iterable[str]) -> dict[str, KafkaException]:
    """Make these; returns why not, by topic."""
    return await asyncio.to_thread(_make, settings, [*topics], SECONDS)


async def could_not(
    settings: Settings, topics: Iterable[str], seconds: float
) -> dict[str, KafkaException]:
    """The same, and none is made."""
    return await asyncio.to_thread(_make, settings, [*topics], seconds, validate_only=True)


def _topic(settings: Settings, name: str) -> NewTopic:
    config = {"min.insync.replicas": str(settings.kafka_min_insync_replicas)}
    if name.endswith(DLT_SUFFIX):
        config["retention.ms"] = str(DEAD_LETTERS_STAY // timedelta(milliseconds=1))
    return NewTopic(name, PARTITIONS, settings.kafka_replication_factor, config=config)


def _make(
    settings: Settings, topics: list[str], seconds: float, **how: bool
) -> dict[str, KafkaException]:
    if not topics:
        return {}
    asking = AdminClient(dict(settings.kafka), logger=_client_log)
    wanted = [_topic(settings, name) for name in topics]
    made = asking.create_topics(wanted, request_timeout=seconds, operation_timeout=seconds, **how)
    refused: dict[str, KafkaException] = {}
    for name, future in made.items():
        try:
            future.result()
        except KafkaException as error:
            # Another worker was faster.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                refused[name] = error
    return refused
