"""What a request may come wrapped in: a head of a certain size, and a body as it is."""

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import problem
from domain.errors import HeadersTooLarge, Rejected, UnsupportedMediaType

MAX_HEADERS = 100
MAX_HEAD_BYTES = 128 * 1024


class BoundedHead(HttpToolsProtocol):
    """Hangs up on whoever sends a head without end, or anything else that is no body: trailers, the
    extensions of a chunk. The parser keeps such a thing until it is whole, and joins its pieces
    again for each that comes: 64 MiB took the whole process 18 s."""

    _kept = 0
    _taken = False

    def data_received(self, data: bytes) -> None:
        if self._kept > MAX_HEAD_BYTES:
            self.send_400_response("The head of the request is too large.")
            return
        self._taken = False
        super().data_received(data)
        self._kept = 0 if self._taken else self._kept + len(data)

    def on_headers_complete(self) -> None:
        self._taken = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._taken = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._taken = True
        super().on_message_complete()


class Envelope:
    """ASGI middleware: refuses heads that are too large, and bodies that are packed: a few bytes
    of those can become any number."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope["headers"]) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await problem(refusal, scope["path"])(scope, receive, send)


def _refusal(headers: Any) -> Rejected | None:
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
        return HeadersTooLarge(
            f"A request may have {MAX_HEADERS} headers, of {MAX_HEAD_BYTES:,} bytes in all."
        )
    if any(name == b"content-encoding" for name, _ in headers):
        return UnsupportedMediaType("Send the body as it is, without a Content-Encoding.")
    return None
