"""Reading a JSON body: strictly, within bounds, and once for the idempotency hash.

What lenient parsers let pass becomes a fault further down: PostgreSQL stores no NUL, UTF-8 no lone
surrogate, a duplicate key means two different requests to two readers (RFC 8259, section 4).
"""

import hashlib
import json
from collections.abc import Callable, Coroutine
from decimal import Decimal, InvalidOperation
from typing import Any, Never

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from domain.errors import InvalidRequest, PayloadTooLarge, Rejected, UnsupportedMediaType

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32

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
    return parse(body)


def parse(body: bytes) -> Any:
    """The JSON value of a body; raises `InvalidRequest` with the reason."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    _check(value, MAX_DEPTH)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is out of range")
    if not _keeps(number, digits):
        raise ValueError(f"{digits[:40]} has digits that a number loses: send a string")
    return number


def _keeps(number: float, digits: str) -> bool:
    """Whether `repr(number)` is what was sent: a price is read from it, digit by digit."""
    try:
        return Decimal(repr(number)) == Decimal(digits)
    except InvalidOperation:  # an exponent of twenty digits
        return False


def _bounded(digits: str) -> int:
    number = int(digits)
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"{digits[:25]}… is out of range")
    return number


def _check(value: Any, depth: int) -> None:
    if depth == 0:
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_text(name)
            _check(item, depth - 1)


def _check_text(value: str) -> None:
    if "\x00" in value:
        raise InvalidRequest("The body holds a NUL character.")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidRequest("The body holds a lone surrogate.")


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
