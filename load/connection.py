"""HTTP/1.1, as little of it as measuring needs: a full client would be what is measured."""

import asyncio
import time
from collections.abc import Mapping

import orjson

FRESH_SECONDS = 2
"""A server closes a connection that nobody has used for five seconds."""


class Connection:
    """One request at a time; whoever has several in flight has as many connections."""

    def __init__(self, port: int, always: Mapping[str, str] | None = None) -> None:
        """`always`: headers of each request."""
        self._port = port
        self._always = always or {}
        self._used = 0.0
        self._writer: asyncio.StreamWriter | None = None

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        expect: int,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of the answer; raises RuntimeError unless the answer has this status."""
        if self._writer is None or time.monotonic() - self._used > FRESH_SECONDS:
            await self._open()
        assert self._writer is not None
        sent = {**self._always, **(headers or {})}.items()
        more = "".join(f"{name}: {value}\r\n" for name, value in sent)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{more}\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        received = await self._reader.readexactly(length)
        if not answer.startswith(f"http/1.1 {expect}".encode()):
            raise RuntimeError(f"{method} {path}: {received.decode()}")
        self._used = time.monotonic()
        return received

    async def post(
        self, path: str, document: object, key: str, *, expect: int = 201
    ) -> dict[str, str]:
        """Send a document under an idempotency key."""
        headers = {"Idempotency-Key": key}
        body = orjson.dumps(document)
        answer = await self.send("POST", path, body, expect=expect, headers=headers)
        found: dict[str, str] = orjson.loads(answer)
        return found

    async def _open(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
