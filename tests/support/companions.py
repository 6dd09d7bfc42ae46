"""Workers of no task queue, for tests of when they are told to stop."""

import asyncio

from temporalio.worker import Worker


class Companion(Worker):
    """A worker that ends only when its companion has been told to stop, too."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.other = self

    async def __aenter__(self) -> Worker:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.shutdown()

    async def shutdown(self) -> None:
        self.told.set()
        await self.other.told.wait()

    async def is_told(self) -> None:
        """Until it is."""
        await self.told.wait()
