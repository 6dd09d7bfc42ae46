"""How much is worked on at a time. Reads and work have bounds of their own, so that neither takes
what the other needs; what is too much is refused at once instead of waiting for a connection.

A read has its place, and with it a connection, from its first moment. Work takes its place when it
first asks the database and keeps it to its end, also while it waits for a workflow: a repeat that
Valkey answers has none and waits for nobody, and whoever was let in is never refused later.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from enum import StrEnum

from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import overloaded
from domain import access
from service.overload import Overloaded
from store.database import Database, Transaction

WAIT_SECONDS = 0.5
"""How long a read may wait for its place."""


class Kind(StrEnum):
    READ = "read"
    WORK = "work"


REFUSED = Counter(
    "billing_overload_refusals", "Requests that were refused because of too many others.", ["kind"]
)
for each in Kind:
    REFUSED.labels(each)


class Reads:
    """So many at a time; some more may wait, shortly."""

    def __init__(self, at_once: int, may_wait: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._may_wait = may_wait
        self._waiting = 0

    async def enter(self) -> None:
        """Raises `Overloaded` for whoever is too many, or has waited for too long."""
        if self._places.locked() and self._waiting >= self._may_wait:
            raise Overloaded
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded from None
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        self._places.release()


class Work:
    """So much at a time, and nobody waits to be let in."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._under_way = 0

    def enter(self) -> None:
        """Raises `Overloaded` for whoever is too many."""
        if self._under_way >= self._at_once:
            REFUSED.labels(Kind.WORK).inc()
            raise Overloaded
        self._under_way += 1

    def leave(self) -> None:
        self._under_way -= 1


class Turn:
    """A request's place among the work, once it has taken it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._taken = False

    def take(self) -> None:
        """Raises `Overloaded`; again it does nothing."""
        if not self._taken:
            self._work.enter()
            self._taken = True

    def end(self) -> None:
        if self._taken:
            self._work.leave()


class AdmittedDatabase(Database):
    """The database for one request: with its first transaction it takes its turn."""

    def __init__(self, database: Database, turn: Turn) -> None:
        self.engine = database.engine
        self._database = database
        self._turn = turn

    def begin(self, scope: access.Scope) -> AbstractAsyncContextManager[Transaction]:
        self._turn.take()
        return self._database.begin(scope)

    def read(self, scope: access.Scope) -> AbstractAsyncContextManager[Transaction]:
        self._turn.take()
        return self._database.read(scope)

    def statements(self, scope: access.Scope) -> AbstractAsyncContextManager[Transaction]:
        self._turn.take()
        return self._database.statements(scope)


class Admission:
    """ASGI middleware: lets reads of the API in, and gives whatever may write a turn. Probes,
    metrics and pages are let in always."""

    def __init__(self, app: ASGIApp, reads: Reads, work: Work) -> None:
        self._app = app
        self._reads = reads
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] != "GET":
            await self._as_work(scope, receive, send)
        elif scope["path"].startswith("/api/"):
            await self._as_read(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _as_read(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._reads.enter()
        except Overloaded:
            REFUSED.labels(Kind.READ).inc()
            # Before anything is parsed: a refusal that costs as much as an answer helps nobody.
            await overloaded(scope["path"])(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._reads.leave()

    async def _as_work(self, scope: Scope, receive: Receive, send: Send) -> None:
        turn = Turn(self._work)
        scope.setdefault("state", {})["turn"] = turn
        try:
            await self._app(scope, receive, send)
        finally:
            turn.end()
