"""A circuit breaker and a bulkhead around one PG, so that its troubles stay its own.

Every gateway has its own guard: an open breaker or a full bulkhead of one touches no other, and no
payment from the wallet. A call that they turn away has certainly not left us.
"""

from collections.abc import Awaitable, Callable

from interlock import BulkheadFullError, CircuitBreaker, CircuitOpenError, Config, Pipeline

from domain.gateway import GatewayAnswer, GatewayRequest, GatewayStatus
from gateway.client import GatewayProfile, OutcomeUnknown, PaymentGateway, Unreachable


class GuardedGateway:
    """Turns every fault into an answer: NOT_SENT or UNKNOWN."""

    def __init__(self, gateway: PaymentGateway, profile: GatewayProfile) -> None:
        self._gateway = gateway
        breaker = CircuitBreaker(
            name=profile.name,
            config=Config(
                failure_rate_threshold=profile.breaker_failure_rate,
                minimum_number_of_calls=profile.breaker_minimum_calls,
                window_size=profile.breaker_minimum_calls * 2,
                slow_call_duration_threshold=profile.read_timeout_seconds,
                wait_duration_in_open=profile.breaker_open_seconds,
            ),
        )
        # The bulkhead stands outside: a call that it turns away is no failure of the PG.
        self._guard = (
            Pipeline.builder()
            .bulkhead(profile.concurrent_calls, max_wait=1.0)
            .circuit_breaker(breaker)
            .build()
        )

    async def send(self, request: GatewayRequest) -> GatewayAnswer:
        return await self._guarded(self._gateway.send, request)

    async def inquire(self, request: GatewayRequest) -> GatewayAnswer:
        return await self._guarded(self._gateway.inquire, request)

    async def close(self) -> None:
        await self._gateway.close()

    async def _guarded(
        self, call: Callable[[GatewayRequest], Awaitable[GatewayAnswer]], request: GatewayRequest
    ) -> GatewayAnswer:
        try:
            return await self._guard.call(call, request)
        except (CircuitOpenError, BulkheadFullError, Unreachable) as error:
            return GatewayAnswer(GatewayStatus.NOT_SENT, message=str(error))
        except OutcomeUnknown as error:
            return GatewayAnswer(GatewayStatus.UNKNOWN, message=str(error))
