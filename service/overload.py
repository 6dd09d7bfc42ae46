"""How much work is under way at a time: what is too much is refused before anything of it is done.

Work takes its place when it first asks the database, and keeps it to its end, also while it waits
for a workflow. Whoever was let in is not refused later.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from domain.access import Scope
from store.database import Database, Transaction

WAIT_SECONDS = 2.0
"""How long somebody may wait to be let in: a machine that is busy for a moment refuses nobody."""


class Overloaded(Exception):
    """So much is under way that this is not even begun: nothing was done, come again in a moment.

    Not a `Rejected`: nothing is wrong with what was asked for.
    """


class Work:
    """So much at a time. Of that `beginning` may be in their first transaction: what was let in
    before finds a connection, and whoever cannot begin soon is told so."""

    def __init__(self, at_once: int, beginning: int) -> None:
        self._at_once = at_once
        self._under_way = 0
        self._beginning = asyncio.Semaphore(beginning)

    def enter(self) -> None:
        """Raises `Overloaded` for whoever is too many."""
        if self._under_way >= self._at_once:
            raise Overloaded
        self._under_way += 1

    def leave(self) -> None:
        self._under_way -= 1

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        """The first transaction; raises `Overloaded` for whoever has waited for too long."""
        await place(self._beginning)
        try:
            yield
        finally:
            self._beginning.release()


async def place(places: asyncio.Semaphore) -> None:
    """Take one of these places; raises `Overloaded` where none is free soon."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await places.acquire()
    except TimeoutError:
        raise Overloaded from None


class Turn:
    """A call's place among the work, once it has taken it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._taken = False

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """For the length of a transaction; only the first one can raise `Overloaded`."""
        if self._taken:
            yield
            return
        self._work.enter()
        self._taken = True
        async with self._work.begun():
            yield

    def end(self) -> None:
        if self._taken:
            self._work.leave()


class AdmittedDatabase(Database):
    """The database for one call, which takes its turn with its first transaction."""

    def __init__(self, database: Database, turn: Turn) -> None:
        self.engine = database.engine
        self._database = database
        self._turn = turn

    def begin(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        return self._in_turn(self._database.begin(scope))

    def read(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        return self._in_turn(self._database.read(scope))

    def statements(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        return self._in_turn(self._database.statements(scope))

    @asynccontextmanager
    async def _in_turn(
        self, transaction: AbstractAsyncContextManager[Transaction]
    ) -> AsyncIterator[Transaction]:
        async with self._turn.taken(), transaction as tx:
            yield tx
