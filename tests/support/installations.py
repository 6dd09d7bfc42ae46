"""A whole installation that nobody else uses: a database, a namespace and brokers of its own, and a
worker with all of its duties."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from dev import kafka, process
from dev.stack import temporary_directory
from domain.event import TOPICS
from runtime.processes import work
from runtime.settings import Settings
from tests.support.databases import settings_of_its_own
from tests.support.namespaces import a_namespace


@asynccontextmanager
async def installation(settings: Settings) -> AsyncIterator[Settings]:
    """As the README has it made. Nothing is in it, and no worker runs."""
    async with settings_of_its_own(settings) as own:
        with brokers() as address:
            apart = {"temporal_namespace": a_namespace("alone"), "kafka_bootstrap_servers": address}
            yield own.model_copy(update=apart)


@contextmanager
def brokers() -> Iterator[str]:
    """Whoever shares some reads the others' dead letters, and takes their messages."""
    with temporary_directory() as directory:
        server = kafka.start(directory, TOPICS)
        try:
            process.wait_until_ready([server])
            yield kafka.bootstrap_servers(directory)
        finally:
            process.stop([server])


@asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[None]:
    """One that works for the length of the block, in this process."""
    stop = asyncio.Event()
    working = asyncio.create_task(work(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await working


def told(settings: Settings) -> dict[str, str]:
    """What a process has to be told to be of it."""
    names = (
        *("database_url", "database_owner_url", "redis_url", "kafka_bootstrap_servers"),
        *("temporal_address", "temporal_namespace", "gateway_url"),
    )
    return {name.upper(): str(getattr(settings, name)) for name in names}
