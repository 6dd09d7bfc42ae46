"""How many requests of each kind come, how they are answered and how long that takes.

A kind is a method and a route as it is declared, never a path: whoever calls must not be able to
make up another one.
"""

import time
from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = Counter(
    "billing_http_requests",
    "Requests that were answered, by route and class of the status.",
    ["method", "route", "status"],
)
SECONDS = Histogram(
    "billing_http_request_seconds",
    "From the first byte of a request to the end of its answer.",
    ["method", "route"],
    # A payment is waited for 3 s, and then answered with 202.
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 4, 10),
)
CLASSES = ("2xx", "3xx", "4xx", "5xx")


class Kind(NamedTuple):
    method: str
    route: str


OTHER = Kind("other", "other")
"""Paths that are not there, and whatever was refused before its route was looked for: without a
token, or because reads were too many."""


class Traffic:
    """ASGI middleware around all others: what they refuse is counted too."""

    def __init__(self, app: ASGIApp, kinds: Iterable[Kind]) -> None:
        self._app = app
        every = {*kinds, OTHER}
        self._seconds = {kind: SECONDS.labels(*kind) for kind in every}
        self._answered = {
            (kind, status): REQUESTS.labels(*kind, status) for kind in every for status in CLASSES
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "")
        kind = Kind(scope["method"], route)
        if kind not in self._seconds:
            kind = OTHER
        self._seconds[kind].observe(seconds)
        self._answered[kind, CLASSES[min(max(status // 100, 2), 5) - 2]].inc()
