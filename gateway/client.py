"""What a payment gateway ("PG") must be able to do for us.

An implementation either answers, or raises one of the two faults below; it never guesses.
"""

from dataclasses import dataclass
from typing import Protocol

from domain.gateway import GatewayAnswer, GatewayRequest


class Unreachable(Exception):
    """The request never left us: there was no connection to send it on."""


class OutcomeUnknown(Exception):
    """The request may have left us and no believable answer came: time-out, broken connection,
    5xx, or an answer about another order, amount or currency."""


class PaymentGateway(Protocol):
    """One PG. Both methods raise `Unreachable` and `OutcomeUnknown`."""

    async def send(self, request: GatewayRequest) -> GatewayAnswer:
        """Ask for the charge or refund, under its idempotency key."""

    async def inquire(self, request: GatewayRequest) -> GatewayAnswer:
        """Ask by our own id what became of it, changing nothing."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class GatewayProfile:
    """How one PG is reached and what it promises. Times in seconds."""

    name: str
    url: str
    read_timeout_seconds: float = 5.0
    two_calls: bool = False
    """Authorize before the pivot and capture at it; by default one charge does both."""
    concurrent_calls: int = 64
    breaker_failure_rate: float = 0.5
    breaker_minimum_calls: int = 20
    breaker_open_seconds: float = 10.0
