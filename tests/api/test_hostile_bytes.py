"""What reaches the server before it is HTTP: no bytes give a 5xx, and none stop the process."""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from dev import process, services
from dev.stack import Stack
from store.database import Database
from tests.api.documents import closed_port, rows_of
from tests.conftest import OUR_TIME_SCALE, SECRET
from tests.support.conditions import PATIENCE_SECONDS, patience

HEAD = b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HOSTILE = {
    "nothing": b"",
    "no HTTP": b"\x00\xff\x16\x03\x01 hello\r\n\r\n",
    "half a request": b"POST /api/v1/orders HT",
    "a path that is not ASCII": b"GET /api/v1/orders/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a percent": b"GET /api/v1/orders/%f HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path of 100,000": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a query that is not ASCII": b"GET /api/v1/wallet?customerId=\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header of 100,000": HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "a NUL in a header": HEAD + b"Idempotency-Key: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length beyond the limit": HEAD + b"Content-Length: 99999999999\r\n\r\n" + b" " * 300_000,
    "chunks without a size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "half a body": HEAD + b"Idempotency-Key: k\r\nContent-Length: 100\r\n\r\n{",
    "an unknown method": b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP of tomorrow": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
}


async def test_bytes_that_are_no_request_are_refused(stack: Stack, database: Database) -> None:
    """Each on a connection of its own, which its client then leaves; a good call comes last."""
    port, customer_id = closed_port(), f"c-{uuid4().hex}"
    options = {"gateway_webhook_secret": SECRET, "time_scale": OUR_TIME_SCALE}
    api = services.start_api(stack, port, services.environment(stack, **options))
    try:
        await asyncio.to_thread(process.wait_until_ready, [api])
        for name, data in HOSTILE.items():
            status = await _status(port, data)
            assert status is None or 400 <= status < 500, name
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as http:
            assert (await http.put(f"/api/v1/customers/{customer_id}")).status_code == 201
        process.check_running(api)
    finally:
        await asyncio.to_thread(process.stop, [api])

    assert "Traceback" not in api.log.read_text(errors="replace")
    assert set((await rows_of(database, customer_id)).values()) == {0}


PIECE = b"a" * 65_536
PIECES = 1_024
ENDLESS = {
    "one header": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", PIECE),
    "many headers": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: x\r\n" * 10_000),
    "a path": (b"GET /", PIECE),
    "a trailer": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", PIECE),
    "a webhook's header": (HEAD.replace(b"/api/v1/orders", b"/webhooks/gateway/x") + b"X: ", PIECE),
}


@pytest.mark.parametrize("command", ["api", "codec-server"])
async def test_whoever_sends_64_mib_of_head_is_hung_up_on_long_before(
    stack: Stack, logs: Path, command: str
) -> None:
    """As the command serves, eight of each at once; a good call comes last."""
    port = closed_port()
    arguments = [] if command == "api" else ["--port", str(port)]
    server = process.start(
        command,
        [sys.executable, "-m", "cli.main", command, *arguments],
        log=logs / f"{command}.log",
        ready=lambda: process.http_get(port, "/health/live")[0] in (200, 404),
        environment=services.environment(stack, gateway_webhook_secret=SECRET, api_port=port),
    )
    try:
        await asyncio.to_thread(process.wait_until_ready, [server])
        floods = [(name, *each) for name, each in ENDLESS.items() for _ in range(8)]
        async with patience():
            taken = await asyncio.gather(*(_taken(port, *each) for _, *each in floods))
        for (name, *_), pieces in zip(floods, taken, strict=True):
            assert pieces < PIECES, name
        status, _ = await asyncio.to_thread(process.http_get, port, "/health/live")
        assert status in (200, 404)
        process.check_running(server)
    finally:
        await asyncio.to_thread(process.stop, [server])

    assert "Traceback" not in server.log.read_text(errors="replace")


async def _taken(port: int, head: bytes, piece: bytes) -> int:
    """How many pieces a server takes before it hangs up."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = 0
    with suppress(ConnectionError):
        writer.write(head)
        for _ in range(PIECES):
            writer.write(piece)
            await writer.drain()
            sent += 1
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return sent


async def _status(port: int, data: bytes) -> int | None:
    """The status of the answer; None where the server only hangs up (or we do)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = b""
    with suppress(ConnectionError):
        writer.write(data)
        writer.write_eof()
        line = await reader.readline()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return int(line.split()[1]) if line else None
