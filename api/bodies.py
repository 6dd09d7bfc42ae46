"""Reading a JSON body: strictly, within bounds, and once for the idempotency hash."""

import hashlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from domain.errors import PayloadTooLarge, Rejected, UnsupportedMediaType
from domain.strict_json import lossless, parse

MAX_BYTES = 256 * 1024

LONGER = {"/api/v1/usage/batch": 1024 * 1024}
"""Routes whose bodies may have more bytes: a thousand events are longer than any other request."""


class StrictJSONRoute(APIRoute):
    """Checks the received JSON before FastAPI reads it; leaves its hash in `request.state`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if request.method in ("POST", "PUT"):
                request.state.body_hash = _hash(await _received(request))
            return await handle(request)

        return checked


async def _received(request: Request) -> Any:
    body = await request.body()
    if not body:
        return None
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("Send the body with Content-Type: application/json.")
    return parse(body, lossless)


def _hash(value: Any) -> bytes:
    """Of the JSON as received, with sorted keys: not of the parsed model, whose new default would
    turn an old retry into another request."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).digest()


class BodyLimit:
    """ASGI middleware: a body above `MAX_BYTES` is refused before it is read to its end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = LONGER.get(scope["path"], MAX_BYTES)
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise PayloadTooLarge(f"A body may have {limit:,} bytes at most.")
            return message

        try:
            await self._app(scope, bounded, send)
        except Rejected as refusal:
            await problem(refusal, scope.get("path", ""))(scope, receive, send)
