"""What browsers are told about our answers, whoever made them."""

import re
from base64 import b64encode
from hashlib import sha256

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
}
"""The last one is heeded only where an answer came over TLS."""
NOTHING = "default-src 'none'; frame-ancestors 'none'"
KEPT = "/static/"
"""Only what is below this may be kept by whoever it passes."""


class SecurityHeaders:
    """ASGI middleware. `page`: the OpenAPI page, whose own script is the only one that runs beside
    those of our files."""

    def __init__(self, app: ASGIApp, page: str) -> None:
        self._app = app
        self._of_page = _policy(page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(ALWAYS)
                policy = self._of_page if path == "/swagger" else NOTHING
                headers["Content-Security-Policy"] = policy
                if not path.startswith(KEPT):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, with_headers)


def _policy(page: str) -> str:
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [f"'sha256-{b64encode(sha256(each.encode()).digest()).decode()}'" for each in scripts]
    return (
        f"default-src 'none'; script-src 'self' {' '.join(hashes)}; style-src 'self' "
        "'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
    )
