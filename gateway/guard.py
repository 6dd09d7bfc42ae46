"""A circuit breaker and a bulkhead around one PG, so that its troubles stay its own.

Every gateway has its own guard: an open breaker or a full bulkhead of one touches no other, and no
payment from the wallet. A call that they turn away has certainly not left us.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial

from interlock import BulkheadFullError, CircuitBreaker, CircuitOpenError, Config, Pipeline, State
from prometheus_client import Counter, Gauge, Histogram

from domain.failure import HARD, NO_CODE, SOFT, code_class
from domain.gateway import GatewayAnswer, GatewayRequest, GatewayStatus, Operation
from domain.gateway_health import Health
from gateway.call_log import CallLog
from gateway.client import GatewayProfile, OutcomeUnknown, PaymentGateway, Unreachable

Call = Callable[[GatewayRequest], Awaitable[GatewayAnswer]]

CALLS = Counter(
    "billing_gateway_calls",
    "Calls to a gateway, by what became of them.",
    ["gateway", "operation", "status", "code_class"],
)
SECONDS = Histogram(
    "billing_gateway_call_seconds",
    "How long a gateway took for what was sent to it.",
    ["gateway", "operation"],
    buckets=(0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
BREAKER = Gauge(
    "billing_gateway_breaker", "1 for the state that a breaker is in.", ["gateway", "state"]
)
INQUIRE = "inquire"
PROBES = 10
"""Calls that a breaker lets through, one after the other, before it closes."""


def _show(breaker: CircuitBreaker) -> None:
    """All that may be counted of a gateway, from 0 on."""
    gateway = breaker.name
    for operation in (*Operation, INQUIRE):
        SECONDS.labels(gateway, operation)
        for status in GatewayStatus:
            declined = status is GatewayStatus.DECLINED
            for code in (SOFT, HARD) if declined else (NO_CODE,):
                CALLS.labels(gateway, operation, status, code)
    for state in (State.CLOSED, State.OPEN, State.HALF_OPEN):
        BREAKER.labels(gateway, state.value).set_function(partial(_is_in, breaker, state))


def _is_in(breaker: CircuitBreaker, state: State) -> float:
    return float(breaker.state is state)


class GuardedGateway:
    """Turns every fault into an answer: NOT_SENT or UNKNOWN."""

    def __init__(self, gateway: PaymentGateway, profile: GatewayProfile) -> None:
        self._gateway = gateway
        self._name = profile.name
        self._log = CallLog(profile.breaker_open_seconds)
        breaker = CircuitBreaker(
            name=profile.name,
            listener=self._log,
            config=Config(
                failure_rate_threshold=profile.breaker_failure_rate,
                minimum_number_of_calls=profile.breaker_minimum_calls,
                window_size=profile.breaker_minimum_calls * 2,
                slow_call_duration_threshold=profile.read_timeout_seconds,
                wait_duration_in_open=profile.breaker_open_seconds,
                permitted_calls_in_half_open=PROBES,
            ),
        )
        # The bulkhead stands outside: a call that it turns away is no failure of the PG.
        self._guard = (
            Pipeline.builder()
            .bulkhead(profile.concurrent_calls, max_wait=1.0)
            .circuit_breaker(breaker)
            .build()
        )
        _show(breaker)

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_well(self) -> bool:
        """False while this process takes the PG for down."""
        return self._log.is_well

    @property
    def retried_in(self) -> float:
        """Seconds until a call may show whether it is back."""
        return self._log.retried_in

    def health(self) -> Health:
        """What this process sees of the PG."""
        return self._log.health()

    async def send(self, request: GatewayRequest) -> GatewayAnswer:
        return await self._counted(request.operation, self._gateway.send, request)

    async def inquire(self, request: GatewayRequest) -> GatewayAnswer:
        return await self._counted(INQUIRE, self._gateway.inquire, request)

    async def close(self) -> None:
        await self._gateway.close()

    async def _counted(self, operation: str, call: Call, request: GatewayRequest) -> GatewayAnswer:
        began = time.perf_counter()
        self._log.begins()
        try:
            answer = await self._guarded(call, request)
        finally:
            self._log.ends()
        took = time.perf_counter() - began
        self._log.came_to(answer.status, took)
        CALLS.labels(self._name, operation, answer.status, code_class(answer)).inc()
        # What never left us took no time of the PG's.
        if answer.status is not GatewayStatus.NOT_SENT:
            SECONDS.labels(self._name, operation).observe(took)
        return answer

    async def _guarded(self, call: Call, request: GatewayRequest) -> GatewayAnswer:
        try:
            answer = await self._guard.call(call, request)
        except (CircuitOpenError, BulkheadFullError) as error:
            return GatewayAnswer(GatewayStatus.NOT_SENT, message=str(error))
        except Unreachable as error:
            self._log.failed()
            return GatewayAnswer(GatewayStatus.NOT_SENT, message=str(error))
        except OutcomeUnknown as error:
            self._log.failed()
            return GatewayAnswer(GatewayStatus.UNKNOWN, message=str(error))
        self._log.answered()
        return answer
