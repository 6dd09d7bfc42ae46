"""Waiting for a condition instead of sleeping, and the only bound that a wait has."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""When what has not happened is believed never to happen. Only a test that fails waits so long: it
is generous, so that no machine gets there by being slow. No test has a bound of its own."""


async def eventually(check: Callable[[], Awaitable[T]]) -> T:
    """Ask until the answer is true (or anything but empty) and return it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := await check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: {check}\n{_waiting()}")
        await asyncio.sleep(0.02)
    return answer


def _waiting() -> str:
    """Where each task of this process waits: so a failure says who was silent, or was not there."""
    return "\n".join(sorted(_place(task) for task in asyncio.all_tasks()))


def _place(task: asyncio.Task[Any]) -> str:
    names: list[str] = []
    waits: Any = task.get_coro()
    while (frame := getattr(waits, "cr_frame", None)) is not None:
        names.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        waits = waits.cr_await
    return f"{task.get_name()}: {' > '.join(names)}"


def eventually_beside_the_loop(check: Callable[[], T]) -> T:
    """The same for tests that block (`tests.support.threads`)."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:g} s: {check}"
        time.sleep(0.02)
    return answer


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Something goes on for the length of the block and not longer, however the block ends."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def patience() -> asyncio.Timeout:
    """The same bound for a block that waits for an event or for another process."""
    return asyncio.timeout(PATIENCE_SECONDS)
