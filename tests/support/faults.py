"""Faults that tests put into activities: a class between Temporal and the activity, no patching."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from domain.saga import (
    COUPON_USE,
    INVENTORY_RESERVE,
    ORDER_APPLY_COUPON,
    POINTS_DEDUCT,
    WALLET_HOLD,
)

AT_ONCE = "payment.set_aside"
BY_ITSELF = frozenset(
    {COUPON_USE, ORDER_APPLY_COUPON, INVENTORY_RESERVE, WALLET_HOLD, POINTS_DEDUCT}
)
"""Steps that run only where all of them at once came to nothing, if there is more than one."""


class Fault(Enum):
    FAIL_BEFORE = auto()
    """The activity does not run; the caller sees an error."""
    ANSWER_NO = auto()
    """The activity does not run; it answers that not everything is as expected."""
    LOSE_ANSWER = auto()
    """The activity runs and commits; the caller sees an error."""
    PARK_BEFORE = auto()
    """The activity waits, before it does anything, until released."""
    PARK_AFTER = auto()
    """The activity has done its work and waits before it answers."""


@dataclass
class Parked:
    """Handle on a parked activity."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


class FaultInjector(Interceptor):
    """Plans are per workflow id and activity name, so that tests in one worker do not meet."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, str], list[tuple[Fault, Parked]]] = defaultdict(list)
        self.calls: dict[str, list[str]] = defaultdict(list)

    def plan(self, workflow_id: str, name: str, fault: Fault, times: int = 1) -> Parked:
        """The next `times` executions of this activity in this workflow meet the fault."""
        parked = Parked()
        if name in BY_ITSELF:
            self._plans[workflow_id, AT_ONCE].append((Fault.ANSWER_NO, Parked()))
        self._plans[workflow_id, name] += [(fault, parked)] * times
        return parked

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Faulty(next, self)

    async def run(self, next: ActivityInboundInterceptor, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        workflow_id = info.workflow_id or ""
        self.calls[workflow_id].append(info.activity_type)
        planned = self._plans[workflow_id, info.activity_type]
        if not planned:
            return await next.execute_activity(input)
        fault, parked = planned.pop(0)
        if fault is Fault.FAIL_BEFORE:
            raise ConnectionError("planned: nothing was done")
        if fault is Fault.ANSWER_NO:
            return False
        if fault is Fault.PARK_BEFORE:
            await _wait(parked)
            return await next.execute_activity(input)
        result = await next.execute_activity(input)
        if fault is Fault.LOSE_ANSWER:
            raise ConnectionError("planned: done, but the answer is lost")
        await _wait(parked)
        return result


async def _wait(parked: Parked) -> None:
    parked.reached.set()
    await parked.release.wait()


class _Faulty(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, injector: FaultInjector) -> None:
        super().__init__(next)
        self._injector = injector

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await self._injector.run(self.next, input)
