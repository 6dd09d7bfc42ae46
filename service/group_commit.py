"""Group commit: usage events that arrive while a statement is under way share the next one.

Nobody waits for company: an event that comes alone goes at once. Under load one statement and one
flush of the disk serve everybody who came meanwhile. The statement that counts is the transaction:
what else is asked, the time before it and what was known after it, is true whenever it is asked.
"""

import asyncio
from contextvars import Context
from datetime import timedelta

from domain.access import SYSTEM
from domain.usage import MAX_BATCH, Receipt, UsageEvent
from service.overload import Overloaded
from service.usage import count
from store.database import Database

MAY_WAIT = 5 * MAX_BATCH
"""Events that wait for the next transactions; more would wait for seconds."""
_Waiting = tuple[UsageEvent, asyncio.Future[Receipt]]


class GroupCommit:
    """One per process."""

    def __init__(self, database: Database, late: timedelta) -> None:
        self._database = database
        self._late = late
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def ingest(self, event: UsageEvent) -> Receipt:
        """What became of the event, once that is durable; raises what the statement raised, and
        `Overloaded` where too many wait."""
        if len(self._waiting) >= MAY_WAIT:
            raise Overloaded
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, receipt))
        if self._working is None or self._working.done():
            # Not in the context, and so in the trace, of who came first: it works for all.
            self._working = asyncio.create_task(self._work(), context=Context())
        return await receipt

    async def _work(self) -> None:
        while self._waiting:
            group: list[_Waiting] = []
            try:
                async with self._database.statements(SYSTEM) as tx:
                    while group := self._next_group():
                        receipts = await count(tx, [event for event, _ in group], self._late)
                        for (_, waiting), receipt in zip(group, receipts, strict=True):
                            # A caller who has gone away has cancelled its own receipt only.
                            if not waiting.done():
                                waiting.set_result(receipt)
            except Exception as error:
                # Where there was not even a connection, nobody has been taken from the queue yet.
                for _, waiting in group or self._next_group():
                    if not waiting.done():
                        waiting.set_exception(error)

    def _next_group(self) -> list[_Waiting]:
        group, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        return group
