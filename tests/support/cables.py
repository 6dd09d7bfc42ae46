"""What stands between the API and PostgreSQL, to be cut by tests."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_FATAL = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"


class Cable:
    """Carries every byte to and from a server, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._lines: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self.port = 0

    async def plug(self) -> None:
        """Take connections, at the same port as before."""
        self._listening = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break every connection and refuse new ones."""
        assert self._listening is not None
        self._listening.close()
        for line in self._lines:
            line.transport.abort()
        await self._listening.wait_closed()

    def ports(self) -> list[int]:
        """Where the server sees our connections come from."""
        upstream = [line.get_extra_info("peername") for line in self._lines]
        return [
            line.get_extra_info("sockname")[1]
            for line, peer in zip(self._lines, upstream, strict=True)
            if peer == self._target
        ]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        ends = {writer, up_writer}
        self._lines |= ends
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, up_writer))
                both.create_task(_pump(up_reader, writer))
        finally:
            self._lines -= ends


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def cable(host: str, port: int) -> AsyncIterator[Cable]:
    """Plugged for the length of the block."""
    made = Cable(host, port)
    await made.plug()
    try:
        yield made
    finally:
        await made.cut()


@asynccontextmanager
async def starting_up() -> AsyncIterator[int]:
    """The port of a PostgreSQL that is still starting: it answers every client with 57P03."""

    async def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            length, code = struct.unpack("!ii", await reader.readexactly(8))
            if code == 80877103:  # SSLRequest: there is none
                writer.write(b"N")
                length, _ = struct.unpack("!ii", await reader.readexactly(8))
            await reader.readexactly(length - 8)
            writer.write(b"E" + struct.pack("!i", len(_FATAL) + 4) + _FATAL)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(turn_away, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """The address of somebody who takes connections and says nothing."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"
