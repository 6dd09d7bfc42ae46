"""What every step of the demo uses: a running system, a customer of it, and somebody to tell."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from rich.console import Console

from dev import process, services
from dev.demo.shop import Shop
from dev.demo.verdict import Unexpected
from dev.process import Server
from dev.stack import Stack
from store.database import Database

Found = TypeVar("Found")


@dataclass(frozen=True)
class Stage:
    """A step acts through the shop, checks what comes, and tells it in a sentence.

    `ours` are the API and the worker; `events` counts what was read from Kafka, by topic.
    """

    console: Console
    stack: Stack
    environment: Mapping[str, str]
    ours: list[Server]
    database: Database
    shop: Shop
    events: Counter[str] = field(default_factory=Counter)

    def tell(self, sentence: str) -> None:
        """One outcome, after it was checked."""
        self.console.print(f"    {sentence}", soft_wrap=True, highlight=False)

    def kill_worker(self) -> None:
        """End the worker without a chance to tidy up."""
        self.ours[-1].process.kill()
        self.ours[-1].process.wait()

    async def start_worker(self) -> None:
        """Put another one in its place."""
        worker = services.start_worker(self.stack, "worker", self.environment)
        self.ours[-1] = worker

        async def ready() -> bool:
            process.check_running(worker)
            return worker.ready()

        await until("the new worker is ready", ready)


async def until(
    what: str, look: Callable[[], Awaitable[Found]], *, timeout_seconds: float = 30
) -> Found:
    """Look again and again until there is something; raises `Unexpected` after the time-out."""
    deadline = time.monotonic() + timeout_seconds
    while not (found := await look()):
        if time.monotonic() > deadline:
            raise Unexpected(f"{what}: this did not happen within {timeout_seconds:g} s")
        await asyncio.sleep(process.POLL_SECONDS)
    return found
