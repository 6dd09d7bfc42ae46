"""Calls to the payment gateways. No database here: one external call each."""

from collections.abc import Mapping
from dataclasses import replace

from temporalio import activity

from activities.heartbeat import heartbeats
from domain.gateway import GatewayAnswer, GatewayRequest, GatewayStatus
from gateway.client import PaymentGateway
from store import customer
from store.key_ring import KeyRing, Tampered, UnknownKey


class GatewayActivities:
    """Every outcome is a value, UNKNOWN and NOT_SENT too: the workflow decides what follows.

    A billing key is opened here, on its way out, and nowhere else.
    """

    def __init__(self, gateways: Mapping[str, PaymentGateway], keys: KeyRing) -> None:
        self._gateways = gateways
        self._keys = keys

    @activity.defn(name="gateway.charge")
    async def charge(self, request: GatewayRequest) -> GatewayAnswer:
        """Authorize and capture in one; the same key again gives the same answer."""
        return await self._send_with_card(request)

    @activity.defn(name="gateway.authorize")
    async def authorize(self, request: GatewayRequest) -> GatewayAnswer:
        """Have the money set aside with the card's bank."""
        return await self._send_with_card(request)

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

    async def _send_with_card(self, request: GatewayRequest) -> GatewayAnswer:
        try:
            key = customer.billing_key_of(self._keys, request.customer_id, request.billing_key)
        except (UnknownKey, Tampered) as error:
            activity.logger.error("a billing key cannot be opened: %s", error)
            return GatewayAnswer(GatewayStatus.NOT_SENT, message=str(error))
        return await self._send(replace(request, billing_key=key))

    async def _send(self, request: GatewayRequest) -> GatewayAnswer:
        async with heartbeats():
            return await self._gateways[request.gateway].send(request)
