"""Reads and work have bounds of their own, so that neither takes what the other needs; what is too
much is refused at once instead of waiting for a connection.

A read has its place, and with it a connection, from its first moment. Work takes its place when it
first asks the database (`service.overload`): a repeat that Valkey answers takes none and waits for
nobody.
"""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import Kind, overloaded
from service.overload import Overloaded, Turn, Work, place


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
            await place(self._places)
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        self._places.release()


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
            # Before anything is parsed: a refusal that costs as much as an answer helps nobody.
            await overloaded(scope["path"], Kind.READ)(scope, receive, send)
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
