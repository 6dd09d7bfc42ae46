"""Waiting for a condition instead of sleeping."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""When what has not happened is believed never to happen: only a test that fails waits so long."""


async def eventually(
    check: Callable[[], Awaitable[T]], timeout_seconds: float = PATIENCE_SECONDS
) -> T:
    """Ask until the answer is true (or anything but empty) and return it."""
    deadline = time.monotonic() + timeout_seconds
    while not (answer := await check()):
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {check}"
        await asyncio.sleep(0.02)
    return answer
