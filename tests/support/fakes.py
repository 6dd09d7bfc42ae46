"""Payment gateways for what the simulator cannot be told to do. They are gateways, not mocks."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.gateway import GatewayAnswer, GatewayRequest
from gateway.client import OutcomeUnknown, PaymentGateway, Unreachable


class Line:
    """The line to a real gateway, which a test cuts and mends."""

    def __init__(self, gateway: PaymentGateway) -> None:
        self._gateway = gateway
        self.connects = True
        """Without it nothing can leave us."""
        self.requests_arrive = True
        """Without it a request leaves us and is lost on its way."""
        self.answers_arrive = True
        """Without it the gateway does what it was asked, and we do not hear of it."""
        self.inquiries_work = True
        self.sent: list[GatewayRequest] = []
        self.inquired: list[GatewayRequest] = []

    async def send(self, request: GatewayRequest) -> GatewayAnswer:
        if not self.connects:
            raise Unreachable("the line is cut")
        self.sent.append(request)
        if not self.requests_arrive:
            raise OutcomeUnknown("the request was lost")
        answer = await self._gateway.send(request)
        if not self.answers_arrive:
            raise OutcomeUnknown("the answer was lost")
        return answer

    async def inquire(self, request: GatewayRequest) -> GatewayAnswer:
        if not self.connects:
            raise Unreachable("the line is cut")
        self.inquired.append(request)
        if not self.inquiries_work:
            raise OutcomeUnknown("the answer was lost")
        return await self._gateway.inquire(request)

    async def close(self) -> None:
        await self._gateway.close()

    async def deliver_late(self, request: GatewayRequest) -> GatewayAnswer:
        """What was lost on its way arrives after all."""
        return await self._gateway.send(request)


@asynccontextmanager
async def liar() -> AsyncIterator[str]:
    """An HTTP server that answers every charge and inquiry with the capture of another amount;
    yields its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            (
                int(line[15:])
                for line in head.splitlines()
                if line.lower().startswith("content-length:")
            ),
            0,
        )
        asked = json.loads(await reader.readexactly(length) or "{}")
        order_id = asked.get("orderId") or head.split()[1].rpartition("/")[2]
        body = json.dumps(
            {
                "id": "pg_1",
                "orderId": order_id,
                "status": "CAPTURED",
                "amount": 1,
                "currency": "KRW",
            }
        ).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
