"""What every step of the demo uses: a running system, a customer of it, and somebody to tell."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rich.console import Console

from dev import process, services
from dev.demo.shop import Shop
from dev.demo.verdict import Unexpected
from dev.process import Server
from dev.stack import Stack
from service.desk import Desk

Found = TypeVar("Found")

PATIENCE_CPU_SECONDS = 30.0
"""So long the system may work without an outcome. CPU time, not time: on a slow machine it gets
less done in a minute."""


@dataclass
class Stage:
    """A step acts through the shop, checks what comes, and tells it in a sentence.

    `ours` are the API and the worker; `events` counts what was read from Kafka, by topic.
    """

    console: Console
    stack: Stack
    environment: Mapping[str, str]
    ours: list[Server]
    desk: Desk
    shop: Shop
    events: Counter[str] = field(default_factory=Counter)
    awaited: str = ""
    worked_when_told: float = 0.0

    def tell(self, sentence: str) -> None:
        """One outcome, after it was checked."""
        self.console.print(f"    {sentence}", soft_wrap=True, highlight=False)
        self.worked_when_told = self._worked()

    def kill_worker(self) -> None:
        """End the worker without a chance to tidy up."""
        worker = self.ours.pop()
        worker.process.kill()
        worker.process.wait()

    async def start_worker(self) -> None:
        """Put another one in its place."""
        worker = services.start_worker(self.stack, "worker", self.environment)
        self.ours.append(worker)

        async def ready() -> bool:
            return worker.ready()

        await self.until("the new worker is ready", ready)

    async def until(self, what: str, look: Callable[[], Awaitable[Found]]) -> Found:
        """Look again and again until there is something: the step is watched meanwhile."""
        self.awaited = what
        while True:
            if found := await look():
                return found
            await asyncio.sleep(process.POLL_SECONDS)

    async def watch(self, step: Coroutine[Any, Any, None]) -> None:
        """Let a step act; nothing in it has a time-out of its own.

        Raises StackError when a process of the system ends, and `Unexpected` when all of them work
        and nothing comes of it.
        """
        self.awaited = "an outcome"
        acting = asyncio.create_task(step)
        try:
            while not (await asyncio.wait([acting], timeout=0.5))[0]:
                self._check()
            await acting
        finally:
            acting.cancel()

    def _check(self) -> None:
        for server in (*self.stack.servers, *self.ours):
            process.check_running(server)
        worked = self._worked() - self.worked_when_told
        if worked > PATIENCE_CPU_SECONDS:
            raise Unexpected(
                f"{self.awaited}: this did not happen, though everybody worked for {worked:.0f} s"
            )

    def _worked(self) -> float:
        """The CPU time of everybody who runs, in seconds."""
        pids = [server.process.pid for server in (*self.stack.servers, *self.ours)]
        return sum(map(process.cpu_ticks, pids)) / os.sysconf("SC_CLK_TCK")
