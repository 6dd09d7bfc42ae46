"""A streaming copy of the database, for lists and reports."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta

import structlog
from sqlalchemy import text

from domain.access import SYSTEM, Scope
from store.database import ERRORS, Database, Transaction

LOOK_SECONDS = 0.5
"""How often it is asked how far the copy is; and how long an answer may take."""
AWAY = (*ERRORS, OSError, TimeoutError)

_WRITTEN = text("SELECT pg_current_wal_lsn()::text")
_HAS_REPLAYED = text("""
SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= CAST(CAST(:position AS text) AS pg_lsn)
""")

log = structlog.get_logger()


class ReplicatedDatabase(Database):
    """A database of which reads see a copy, unless that is away or has not replayed what the
    database itself had written `lag` ago: then they see the database. Writes never see the copy.

    No clock of the servers is compared, and a copy that has lost its sender is not taken for one
    that has nothing to replay: the database says how far it had written, the copy how far it is.
    """

    def __init__(self, database: Database, copy: Database, lag: timedelta) -> None:
        self.engine = database.engine
        self._database = database
        self._copy = copy
        self._lag = lag.total_seconds()
        self._written: deque[tuple[float, str]] = deque()
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._is_fresh: bool | None = None

    def begin(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        return self._database.begin(scope)

    def statements(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        return self._database.statements(scope)

    @asynccontextmanager
    async def read(self, scope: Scope) -> AsyncIterator[Transaction]:
        async with AsyncExitStack() as stack:
            yield await self._opened(stack, scope)

    async def dispose(self) -> None:
        await self._copy.dispose()
        await self._database.dispose()

    async def _opened(self, stack: AsyncExitStack, scope: Scope) -> Transaction:
        if await self._fresh():
            try:
                return await stack.enter_async_context(self._copy.read(scope))
            except AWAY as error:
                self._believe(False, error)
        return await stack.enter_async_context(self._database.read(scope))

    async def _fresh(self) -> bool:
        async with self._looking:
            if time.monotonic() - self._looked_at >= LOOK_SECONDS:
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        self._believe(await self._look())
                except AWAY as error:
                    self._believe(False, error)
        return bool(self._is_fresh)

    async def _look(self) -> bool:
        """Whether the copy has replayed what was written at the first look that is not too old."""
        now = time.monotonic()
        async with self._database.statements(SYSTEM) as tx:
            self._written.append((now, (await tx.execute(_WRITTEN)).scalar_one()))
        while self._written[0][0] < now - self._lag:
            self._written.popleft()
        async with self._copy.statements(SYSTEM) as tx:
            position = self._written[0][1]
            return bool((await tx.execute(_HAS_REPLAYED, {"position": position})).scalar_one())

    def _believe(self, is_fresh: bool, error: BaseException | None = None) -> None:
        self._looked_at = time.monotonic()
        if is_fresh is not self._is_fresh:
            self._is_fresh = is_fresh
            if is_fresh:
                log.info("lists are read from the replica")
            else:
                log.warning("the replica is behind or away: lists are read past it", error=error)
