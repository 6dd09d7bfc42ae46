"""Long tests that block must not stop the event loop: the workers of this process live on it."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

P = ParamSpec("P")


def beside_the_loop(test: Callable[P, None]) -> Callable[P, Awaitable[None]]:
    """Run a blocking test in a thread of its own, while the event loop goes on."""

    @wraps(test)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        await asyncio.to_thread(test, *args, **kwargs)

    return run
