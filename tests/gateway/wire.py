"""A PG that says what a test tells it to: a real HTTP server of a few lines."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def says(body: object, status: int = 200) -> Answer:
    """An answer with a JSON body, or with these very bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d Status\r\nContent-Length: %d\r\n\r\n" % (status, len(content)))
        writer.write(content)
        await writer.drain()

    return write


async def hangs_up(writer: asyncio.StreamWriter) -> None:
    """No answer at all."""
    writer.close()


async def breaks_off(writer: asyncio.StreamWriter) -> None:
    """Half an answer."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"status":')
    await writer.drain()
    writer.close()


async def drips(writer: asyncio.StreamWriter) -> None:
    """An answer that never ends, a byte at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def says_nothing(writer: asyncio.StreamWriter) -> None:
    """The caller waits as long as it likes."""
    await writer.wait_closed()


@dataclass
class FakeServer:
    """`answer` may be changed at any time; `requests` are the first lines of what arrived."""

    url: str
    answer: Answer
    requests: list[str] = field(default_factory=list)
    answering: set[asyncio.Task[None]] = field(default_factory=set)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[FakeServer]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.answering.add(task)
        with suppress(ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
                await reader.readexactly(int(fields.get("Content-Length", "0")))
                served.requests.append(head.split("\r\n")[0])
                await served.answer(writer)
        served.answering.discard(task)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    served = FakeServer(f"http://127.0.0.1:{port}", answer)
    try:
        yield served
    finally:
        server.close()
        for task in served.answering:
            task.cancel()
        await asyncio.gather(*served.answering, return_exceptions=True)
