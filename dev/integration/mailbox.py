"""A mail server that takes every mail and delivers none: what came can be looked at."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

READY = b"220 mailbox\r\n"
TAKEN = b"250 OK\r\n"
GO_ON = b"354 End with a dot on a line of its own\r\n"
BYE = b"221 Bye\r\n"
UNKNOWN = b"502 Not known here\r\n"
ANSWERS = {
    **dict.fromkeys((b"EHLO", b"HELO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"NOOP"), TAKEN),
    b"QUIT": BYE,
}
END = b".\r\n"


@dataclass
class Mailbox:
    """The mails in the order in which they came; `port` is of the loopback interface."""

    port: int = 0
    received: list[EmailMessage] = field(default_factory=list)

    def to(self, address: str) -> list[EmailMessage]:
        """Those for one recipient."""
        return [mail for mail in self.received if mail["To"] == address]

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """SMTP with one client, as far as a client of the standard library needs it (RFC 5321)."""
        writer.write(READY)
        while line := await reader.readline():
            verb = line.strip().partition(b" ")[0].upper()
            if verb == b"DATA":
                writer.write(GO_ON)
                mail = await _mail(reader)
                if mail is None:
                    break
                self.received.append(message_from_bytes(mail, policy=policy.default))
            writer.write(ANSWERS.get(verb, UNKNOWN))
        writer.close()


async def _mail(reader: asyncio.StreamReader) -> bytes | None:
    """All lines up to the dot; one that begins with a dot was sent with another one before it. None
    where the client has gone before the end."""
    lines: list[bytes] = []
    while (line := await reader.readline()) != END:
        if not line:
            return None
        lines.append(line.removeprefix(b"."))
    return b"".join(lines)


@asynccontextmanager
async def serving() -> AsyncIterator[Mailbox]:
    """A mailbox for the length of the block."""
    mailbox = Mailbox()
    server = await asyncio.start_server(mailbox.converse, "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    async with server:
        yield mailbox
