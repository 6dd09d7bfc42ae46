"""The circuit breaker and the bulkhead of a PG: its troubles stay its own."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from domain.gateway import GatewayRequest, GatewayStatus, Operation
from gateway.client import GatewayProfile
from gateway.guard import GuardedGateway
from gateway.http import HttpGateway
from tests.gateway.wire import FakeServer, hangs_up, says, says_nothing, serving
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.metrics import sample
from tests.support.samples import a_payment

CAPTURED, NOT_SENT, UNKNOWN = (
    GatewayStatus.CAPTURED,
    GatewayStatus.NOT_SENT,
    GatewayStatus.UNKNOWN,
)
CHARGE = a_payment(card_amount=1_000).gateway_request(Operation.CHARGE)
GOOD = says(
    {
        "id": "pay_1",
        "orderId": CHARGE.payment_id,
        "status": "CAPTURED",
        "amount": CHARGE.amount,
        "currency": CHARGE.currency,
    }
)
MINIMUM_CALLS = 10
FOR_GOOD, A_MOMENT = 3600.0, 0.3
"""Seconds that an open breaker stays open."""


@pytest.fixture
async def pg() -> AsyncIterator[FakeServer]:
    async with serving(GOOD) as served:
        yield served


@asynccontextmanager
async def guarding(
    pg: FakeServer, concurrent_calls: int = 64, open_seconds: float = FOR_GOOD
) -> AsyncIterator[GuardedGateway]:
    profile = GatewayProfile(
        name="pg",
        url=pg.url,
        read_timeout_seconds=PATIENCE_SECONDS,
        concurrent_calls=concurrent_calls,
        breaker_minimum_calls=MINIMUM_CALLS,
        breaker_open_seconds=open_seconds,
    )
    made = GuardedGateway(HttpGateway(profile), profile)
    try:
        yield made
    finally:
        await made.close()


async def calls(guard: GuardedGateway, number: int) -> Counter[GatewayStatus]:
    """That many charges one after the other, and how they ended."""
    return Counter([(await guard.send(CHARGE)).status for _ in range(number)])


async def open_breaker(guard: GuardedGateway, pg: FakeServer) -> None:
    pg.answer = hangs_up
    while (await guard.send(CHARGE)).status is not NOT_SENT:
        assert len(pg.requests) < 50


async def test_the_breaker_opens_when_half_of_the_calls_fail(pg: FakeServer) -> None:
    async with guarding(pg) as guard:
        assert await calls(guard, MINIMUM_CALLS // 2) == {CAPTURED: MINIMUM_CALLS // 2}
        pg.answer = hangs_up
        assert await calls(guard, MINIMUM_CALLS // 2) == {UNKNOWN: MINIMUM_CALLS // 2}

        turned_away = await guard.send(CHARGE)

        assert turned_away.status is NOT_SENT
        assert turned_away.message
        assert (await guard.inquire(CHARGE)).status is NOT_SENT
        assert len(pg.requests) == MINIMUM_CALLS, "what was turned away never left us"


async def test_the_breaker_stays_closed_below_half(pg: FakeServer) -> None:
    async with guarding(pg) as guard:
        await calls(guard, MINIMUM_CALLS)
        pg.answer = hangs_up
        await calls(guard, MINIMUM_CALLS - 1)
        pg.answer = GOOD

        assert await calls(guard, 1) == {CAPTURED: 1}


async def test_refusals_and_declines_are_answers_and_open_nothing(pg: FakeServer) -> None:
    body = {"orderId": CHARGE.payment_id, "amount": CHARGE.amount, "currency": CHARGE.currency}
    async with guarding(pg) as guard:
        pg.answer = says({**body, "status": "DECLINED", "declineCode": "lost_card"}, 402)
        assert await calls(guard, 30) == {GatewayStatus.DECLINED: 30}
        pg.answer = says({"code": "invalid-request", "message": "No."}, 400)
        assert await calls(guard, 30) == {GatewayStatus.REFUSED: 30}
        pg.answer = says({"code": "in-progress", "message": "Wait."}, 409)
        assert await calls(guard, 30) == {UNKNOWN: 30}
        pg.answer = GOOD
        assert await calls(guard, 1) == {CAPTURED: 1}


async def test_a_pg_that_recovers_gets_its_calls_back(pg: FakeServer) -> None:
    async with guarding(pg, open_seconds=A_MOMENT) as guard:
        await open_breaker(guard, pg)
        pg.answer = GOOD

        async def is_let_through() -> bool:
            return (await guard.send(CHARGE)).status is CAPTURED

        await eventually(is_let_through)

        async def is_closed() -> bool:
            together = await asyncio.gather(*(guard.send(CHARGE) for _ in range(20)))
            return all(each.status is CAPTURED for each in together)

        await eventually(is_closed)


async def test_a_pg_that_is_still_down_is_asked_only_now_and_then(pg: FakeServer) -> None:
    async with guarding(pg, open_seconds=A_MOMENT) as guard:
        await open_breaker(guard, pg)
        before = len(pg.requests)

        async def is_asked_again() -> bool:
            return (await guard.send(CHARGE)).status is UNKNOWN

        began = time.monotonic()
        for _ in range(3):
            await eventually(is_asked_again)

        probes = len(pg.requests) - before
        assert probes <= 10 * (1 + (time.monotonic() - began) / A_MOMENT)


async def test_a_probe_that_is_cancelled_does_not_keep_the_breaker_from_closing(
    pg: FakeServer,
) -> None:
    async with guarding(pg, open_seconds=A_MOMENT) as guard:
        await open_breaker(guard, pg)
        pg.answer = says_nothing
        before = len(pg.requests)

        async def probe_arrives() -> asyncio.Task[object] | None:
            probing = asyncio.create_task(guard.send(CHARGE))

            async def turned_away_or_there() -> bool:
                return probing.done() or len(pg.requests) > before

            await eventually(turned_away_or_there)
            return None if probing.done() else probing

        probe = await eventually(probe_arrives)
        assert probe is not None
        assert len(pg.requests) == before + 1
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)

        pg.answer = GOOD

        async def is_let_through() -> bool:
            return await calls(guard, 12) == {CAPTURED: 12}

        await eventually(is_let_through)


async def held_call(guard: GuardedGateway, pg: FakeServer) -> asyncio.Task[object]:
    """A call that is with the PG and waits for its answer."""
    before = len(pg.requests)
    task: asyncio.Task[object] = asyncio.create_task(guard.send(CHARGE))

    async def is_there() -> bool:
        return len(pg.requests) > before

    await eventually(is_there)
    return task


async def test_a_full_bulkhead_turns_calls_away_and_is_no_failure_of_the_pg(
    pg: FakeServer,
) -> None:
    async with guarding(pg, concurrent_calls=2) as guard:
        pg.answer = says_nothing
        held = [await held_call(guard, pg) for _ in range(2)]

        turned_away = await asyncio.gather(*(guard.send(CHARGE) for _ in range(40)))

        assert {each.status for each in turned_away} == {NOT_SENT}
        assert len(pg.requests) == 2
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        pg.answer = GOOD
        assert await calls(guard, 20) == {CAPTURED: 20}, "the breaker has counted none of it"


async def test_a_call_that_waited_a_moment_gets_its_turn(pg: FakeServer) -> None:
    async with guarding(pg, concurrent_calls=1) as guard:
        together = await asyncio.gather(*(guard.send(CHARGE) for _ in range(3)))

        assert [each.status for each in together] == [CAPTURED] * 3


async def test_the_troubles_of_one_pg_are_not_those_of_another(pg: FakeServer) -> None:
    async with serving(hangs_up) as broken, guarding(broken) as sick, guarding(pg) as sound:
        await open_breaker(sick, broken)

        assert await calls(sound, 30) == {CAPTURED: 30}
        assert await calls(sick, 1) == {NOT_SENT: 1}


async def test_a_bug_is_not_made_into_an_answer() -> None:
    class Buggy:
        async def send(self, request: GatewayRequest) -> None:
            raise ZeroDivisionError

        inquire = send

        async def close(self) -> None:
            pass

    guard = GuardedGateway(Buggy(), GatewayProfile("buggy", "http://127.0.0.1:9"))  # type: ignore[arg-type]

    with pytest.raises(ZeroDivisionError):
        await guard.send(replace(CHARGE, gateway="buggy"))


async def test_each_call_is_counted_by_what_became_of_it(pg: FakeServer) -> None:
    body = {"orderId": CHARGE.payment_id, "amount": CHARGE.amount, "currency": CHARGE.currency}
    async with guarding(pg) as guard:
        before = {each: counted(*each) for each in KINDS}
        timed = sample("billing_gateway_call_seconds_count", gateway="pg", operation="charge")
        await guard.send(CHARGE)
        await guard.inquire(CHARGE)
        for code in ("lost_card", "insufficient_funds", "a code that no list has", None):
            pg.answer = says({**body, "status": "DECLINED", "declineCode": code}, 402)
            await guard.send(CHARGE)
        await open_breaker(guard, pg)

    grown = {each: counted(*each) - before[each] for each in KINDS}
    sent = sample("billing_gateway_call_seconds_count", gateway="pg", operation="charge") - timed
    assert grown.pop(("charge", "UNKNOWN", "none")) == sent - 5
    assert grown == {
        ("charge", "CAPTURED", "none"): 1,
        ("inquire", "CAPTURED", "none"): 1,
        ("charge", "DECLINED", "hard"): 1,
        ("charge", "DECLINED", "soft"): 3,
        ("charge", "NOT_SENT", "none"): 1,
    }


KINDS = [
    ("charge", "CAPTURED", "none"),
    ("inquire", "CAPTURED", "none"),
    ("charge", "DECLINED", "hard"),
    ("charge", "DECLINED", "soft"),
    ("charge", "NOT_SENT", "none"),
    ("charge", "UNKNOWN", "none"),
]


def counted(operation: str, status: str, code: str) -> float:
    labels = {"operation": operation, "status": status, "code_class": code}
    return sample("billing_gateway_calls_total", gateway="pg", **labels)


async def test_the_state_of_a_breaker_is_shown(pg: FakeServer) -> None:
    def states() -> dict[str, float]:
        return {
            state: sample("billing_gateway_breaker", gateway="pg", state=state)
            for state in ("closed", "open", "half_open")
        }

    async with guarding(pg) as guard:
        assert states() == {"closed": 1, "open": 0, "half_open": 0}
        await open_breaker(guard, pg)
        assert states() == {"closed": 0, "open": 1, "half_open": 0}
