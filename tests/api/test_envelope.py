"""What a request comes wrapped in is bounded, before and after it is read."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from api.envelope import MAX_HEAD_BYTES, MAX_HEADERS, BoundedHead
from tests.api.documents import refused
from tests.support.billing import Billing
from tests.support.conditions import eventually, patience

RANKING = "/api/v1/rankings"


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity", "x", ""])
async def test_a_packed_body_is_refused_and_nothing_of_it_is_read(
    billing: Billing, encoding: str
) -> None:
    event = {"eventId": "e-1", "customerId": billing.customer_id}
    for path in ("/api/v1/usage", "/api/v1/orders", "/webhooks/gateway/simulator"):
        headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
        answer = await billing.api.post(path, content=json.dumps(event), headers=headers)
        refused(answer, 415, "unsupported-media-type")


async def test_so_many_headers_are_taken_and_no_more(billing: Billing) -> None:
    sent = billing.api.build_request("GET", RANKING).headers
    most = {f"X-{number}": "x" for number in range(MAX_HEADERS - len(sent))}

    assert (await billing.api.get(RANKING, headers=most)).status_code == 200
    more = await billing.api.get(RANKING, headers=most | {"X-More": "x"})
    refused(more, 431, "headers-too-large")


async def test_headers_that_are_too_long_are_refused(billing: Billing) -> None:
    answer = await billing.api.get(RANKING, headers={"X": "x" * MAX_HEAD_BYTES})

    refused(answer, 431, "headers-too-large")


@asynccontextmanager
async def served() -> AsyncIterator[tuple[int, list[int]]]:
    """A server that says how many bytes of each body it got: its port, and these numbers."""
    bodies: list[int] = []

    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        bodies.append(size)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    config = uvicorn.Config(
        count, port=0, lifespan="off", log_config=None, access_log=False, http=BoundedHead
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1], bodies
    finally:
        server.should_exit = True
        await serving


async def answer(port: int, *pieces: bytes) -> bytes:
    """What comes back until the server hangs up, while we send on and on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with patience():
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def test_whoever_sends_a_head_without_end_is_hung_up_on() -> None:
    begun = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    async with served() as (port, bodies):
        endless = await answer(port, begun, b"X: ", *[b"x" * 65_536] * 1_000)
        many = await answer(port, begun, *[b"X: x\r\n" * 10_000] * 100)

        chunked = begun.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
        trailer = await answer(port, chunked, b"0\r\nX: ", *[b"x" * 65_536] * 1_000)
        extension = await answer(port, chunked, b"1;x=", *[b"x" * 65_536] * 1_000)

    for each in (endless, many, trailer, extension):
        assert each == b"" or each.startswith(b"HTTP/1.1 400 ")
    assert bodies == []


async def test_a_large_body_is_no_large_head() -> None:
    """Also of the second request of a connection."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
    body = [b"x" * 250_000] * 4
    async with served() as (port, bodies):
        got = await answer(port, head + b"\r\n", *body, head + b"Connection: close\r\n\r\n", *body)

    assert got.count(b"HTTP/1.1 204 ") == 2
    assert bodies == [1_000_000, 1_000_000]
