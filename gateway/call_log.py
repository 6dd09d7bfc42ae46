"""What a process remembers of its calls to one PG, and of the breaker around them."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from interlock import State
from interlock.protocols import CoreEventListener

from domain.gateway import GatewayStatus
from domain.gateway_health import BreakerState, Health

REMEMBERED_SECONDS = 300.0
REMEMBERED_CALLS = 2_000
DOWN_AFTER = 5
"""Calls without an answer, one after the other, until a PG is taken for down although few calls are
made, so that its breaker has not opened."""

_STATES = {
    State.CLOSED: BreakerState.CLOSED,
    State.OPEN: BreakerState.OPEN,
    State.HALF_OPEN: BreakerState.HALF_OPEN,
}


@dataclass(frozen=True)
class _Call:
    at: float
    seconds: float
    status: GatewayStatus


class CallLog(CoreEventListener):
    """Listens to the breaker; its guard tells it of the calls."""

    def __init__(self, open_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_seconds = open_seconds
        self._clock = clock
        self._state = State.CLOSED
        self._unwell_since = 0.0
        self._retry_from = 0.0
        self._failing_since = 0.0
        self._failures = 0
        self._under_way = 0
        self._calls: deque[_Call] = deque(maxlen=REMEMBERED_CALLS)

    def on_state_change(self, *, name: str, old: State, new: State) -> None:
        now = self._clock()
        if old is State.CLOSED:
            self._unwell_since = now
        if new is State.OPEN:
            self._retry_from = now
        self._state = new

    def begins(self) -> None:
        self._under_way += 1

    def ends(self) -> None:
        """However it ended, and if nobody waits for its answer any more."""
        self._under_way -= 1

    def came_to(self, status: GatewayStatus, seconds: float) -> None:
        self._calls.append(_Call(self._clock(), seconds, status))

    def answered(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        """The PG gave no believable answer, or could not be reached."""
        now = self._clock()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        if self._state is State.CLOSED:
            self._retry_from = now

    @property
    def is_well(self) -> bool:
        """False while the PG is taken for down."""
        return self._state is State.CLOSED and self._failures < DOWN_AFTER

    @property
    def retried_in(self) -> float:
        """Seconds until a PG that is taken for down is tried again; 0 while a half open breaker
        counts how such tries end."""
        return max(0.0, self._retry_from + self._open_seconds - self._clock())

    def health(self) -> Health:
        """As it is now."""
        now = self._clock()
        while self._calls and self._calls[0].at < now - REMEMBERED_SECONDS:
            self._calls.popleft()
        sent = sorted(
            each.seconds for each in self._calls if each.status is not GatewayStatus.NOT_SENT
        )
        open_ = self._state is not State.CLOSED
        return Health(
            state=_STATES[self._state],
            unwell_for=now - self._unwell_since if open_ else None,
            retried_in=None if self.is_well else self.retried_in,
            failing_for=now - self._failing_since if self._failures else None,
            under_way=self._under_way,
            calls=dict(Counter(str(each.status) for each in self._calls)),
            p50=_quantile(sent, 0.5),
            p95=_quantile(sent, 0.95),
        )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[int(share * (len(ordered) - 1))] if ordered else None
