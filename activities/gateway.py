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
        async with heartbeats():
            return await self._gateways[request.gateway].send(request)

    @activity.defn(name="gateway.refund")
    async def refund(self, request: GatewayRequest) -> GatewayAnswer:
        """Give (a part of) a capture back."""
        async with heartbeats():
            return await self._gateways[request.gateway].send(request)

    @activity.defn(name="gateway.inquire")
    async def inquire(self, request: GatewayRequest) -> GatewayAnswer:
        """Find out by our own id what became of a charge or refund."""
        async with heartbeats():
            return await self._gateways[request.gateway].inquire(request)
