"""Heartbeats of activities that wait on somebody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity

EVERY_SECONDS = 1.0


@asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Beat while waiting, so that the death of this worker is noticed in seconds."""
    beating = asyncio.create_task(_beat())
    try:
        yield
    finally:
        beating.cancel()


async def _beat() -> None:
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        activity.heartbeat()
