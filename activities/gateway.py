"""Calls to the payment gateways. No database here: one external call each."""

from collections.abc import Mapping

from temporalio import activity

from activities.heartbeat import heartbeats
from domain.gateway import GatewayAnswer, GatewayRequest
from gateway.client import PaymentGateway


class GatewayActivities:
    """Every outcome is a value, UNKNOWN and NOT_SENT too: the workflow decides what follows."""

    def __init__(self, gateways: Mapping[str, PaymentGateway]) -> None:
        self._gateways = gateways

    @activity.defn(name="gateway.charge")
    async def charge(self, request: GatewayRequest) -> GatewayAnswer:
        """Authorize and capture in one; the same key again gives the same answer."""
        return await self._send(request)

    @activity.defn(name="gateway.authorize")
    async def authorize(self, request: GatewayRequest) -> GatewayAnswer:
        """Have the money set aside with the card's bank."""
        return await self._send(request)

    @activity.defn(name="gateway.capture")
    async def capture(self, request: GatewayRequest) -> GatewayAnswer:
        """Take what was authorized."""
        return await self._send(request)

    @activity.defn(name="gateway.void")
    async def void(self, request: GatewayRequest) -> GatewayAnswer:
        """Let go of what was authorized and not captured."""
        return await self._send(request)

    @activity.defn(name="gateway.refund")
    async def refund(self, request: GatewayRequest) -> GatewayAnswer:
        """Give (a part of) a capture back."""
        return await self._send(request)

    @activity.defn(name="gateway.inquire")
    async def inquire(self, request: GatewayRequest) -> GatewayAnswer:
        """Find out by our own id what became of a charge or refund."""
        async with heartbeats():
            return await self._gateways[request.gateway].inquire(request)

    async def _send(self, request: GatewayRequest) -> GatewayAnswer:
        async with heartbeats():
            return await self._gateways[request.gateway].send(request)
