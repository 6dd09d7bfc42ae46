"""What reaches the server before it is HTTP: no bytes give a 5xx, and none stop the process."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import httpx2

from dev import process, services
from dev.stack import Stack
from store.database import Database
from tests.api.documents import closed_port, rows_of
from tests.conftest import OUR_TIME_SCALE, SECRET
from tests.support.conditions import PATIENCE_SECONDS

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
