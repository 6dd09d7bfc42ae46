"""What a process remembers of its calls to a PG."""

from dataclasses import dataclass

from interlock import State

from domain.gateway import GatewayStatus
from domain.gateway_health import BreakerState
from gateway.call_log import DOWN_AFTER, REMEMBERED_SECONDS, CallLog

OPEN_SECONDS = 10.0


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def is_well(log: CallLog) -> bool:
    """As it is at this moment, which a type checker believes to last."""
    return log.is_well


def turned(log: CallLog, old: State, new: State) -> None:
    log.on_state_change(name="pg", old=old, new=new)


def test_a_breaker_that_is_tried_in_vain_was_never_closed_meanwhile() -> None:
    log = CallLog(OPEN_SECONDS, clock := Clock())
    assert is_well(log)
    assert log.health().unwell_for is None

    turned(log, State.CLOSED, State.OPEN)
    clock.now += 4
    assert not is_well(log)
    assert (log.health().unwell_for, log.retried_in) == (4, 6)

    clock.now += 6
    turned(log, State.OPEN, State.HALF_OPEN)
    assert (log.health().state, log.retried_in) == (BreakerState.HALF_OPEN, 0)
    log.failed()
    assert log.retried_in == 0, "what is half open goes on to count"

    turned(log, State.HALF_OPEN, State.OPEN)
    assert (log.health().unwell_for, log.retried_in) == (10, 10)

    turned(log, State.OPEN, State.HALF_OPEN)
    log.answered()
    turned(log, State.HALF_OPEN, State.CLOSED)
    assert is_well(log)
    assert log.health().retried_in is None


def test_a_few_calls_in_a_row_without_an_answer_are_a_gateway_that_is_down() -> None:
    log = CallLog(OPEN_SECONDS, clock := Clock())
    for _ in range(DOWN_AFTER - 1):
        log.failed()
        clock.now += 1
    assert is_well(log)
    assert log.health().failing_for == DOWN_AFTER - 1

    log.failed()
    assert not is_well(log)
    assert log.health().state is BreakerState.CLOSED
    assert log.retried_in == OPEN_SECONDS

    log.answered()
    assert is_well(log)
    assert log.health().failing_for is None


def test_one_answer_among_failures_keeps_a_gateway_up() -> None:
    log = CallLog(OPEN_SECONDS, Clock())
    for _ in range(DOWN_AFTER):
        log.failed()
        log.answered()

    assert is_well(log)


def test_calls_are_remembered_for_minutes_and_timed_if_they_left_us() -> None:
    log = CallLog(OPEN_SECONDS, clock := Clock())
    log.came_to(GatewayStatus.CAPTURED, 100.0)
    clock.now += REMEMBERED_SECONDS + 1
    for tenths in range(1, 11):
        log.came_to(GatewayStatus.CAPTURED, tenths / 10)
    log.came_to(GatewayStatus.NOT_SENT, 0.0)
    log.begins()

    health = log.health()

    assert health.calls == {"CAPTURED": 10, "NOT_SENT": 1}
    assert (health.p50, health.p95) == (0.5, 0.9)
    assert health.under_way == 1
    log.ends()
    assert log.health().under_way == 0
