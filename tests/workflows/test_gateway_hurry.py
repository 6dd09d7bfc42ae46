"""A PG was down and is back: whoever waits for it asks at once, not when they are due."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs
from temporalio.client import Client, WorkflowExecutionStatus

from api.app import create_app
from dev import services
from dev.stack import Stack
from domain.gateway_health import HINTS_A_SECOND, HurryRequest
from domain.payment import PaymentRequest
from domain.workflow_id import gateway_hurry_workflow_id
from gateway.client import GatewayProfile, PaymentGateway
from gateway.guard import GuardedGateway
from gateway.http import HttpGateway
from gateway.reports import Reports
from runtime import temporal
from runtime.gateway_watch import mend_for_ever, report_for_ever
from runtime.settings import Settings
from service.starts import start_gateway_hurry
from store.database import Database
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.cables import cable
from tests.support.cashier import Cashier, Handle
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import eventually, meanwhile
from tests.support.databases import connected
from tests.workflows.conftest import Connections
from tests.workflows.test_pursuit import BRISK, due, taken, until
from tests.workflows.test_refund_saga import a_paid_order

A_STEP = timedelta(hours=1)
DUE_LATER = replace(BRISK, resend_window=9 * A_STEP, ladder=(A_STEP,))
"""After its first call nothing is asked for an hour, which no test takes."""
LOOK = 0.05
"""Seconds between two looks at whether a gateway is well."""
OPEN_SECONDS = 0.3


@dataclass(frozen=True)
class Counter:
    """Where operators ask: an API that knows the gateways of these tests."""

    http: httpx2.AsyncClient
    name: str

    async def listed(self) -> dict[str, Any]:
        answer = await self.http.get("/api/v1/gateways")
        assert answer.status_code == 200, answer.text
        [found] = answer.json()["gateways"]
        assert found["name"] == self.name
        return dict(found)

    async def says(self, state: str, *, failing: bool = False, **waiting: int) -> dict[str, Any]:
        """Wait until the list says so; what else it says then."""

        async def so() -> dict[str, Any]:
            found = await self.listed()
            wanted = (state, failing, {**found["waiting"], **waiting})
            is_failing = found["failingSince"] is not None
            return found if (found["state"], is_failing, found["waiting"]) == wanted else {}

        return await eventually(so)

    async def hurry(self) -> dict[str, Any]:
        answer = await self.http.post(f"/api/v1/gateways/{self.name}/hurry")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@asynccontextmanager
async def counter(settings: Settings, name: str) -> AsyncIterator[Counter]:
    app = create_app(settings)
    async with served(app) as http:
        gateways = {name: GatewayProfile(name, settings.gateway_url)}
        for state in ("context", "reading"):
            context = getattr(app.state, state)
            desk = replace(context.desk, gateways=gateways)
            setattr(app.state, state, replace(context, desk=desk))
        yield Counter(http, name)


@asynccontextmanager
async def outage(billing: Billing) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The simulator is down, until what this yields is called, or the block ends."""

    async def set_to(mode: str) -> None:
        answer = await billing.simulator.post("/control/outage", json={"mode": mode})
        assert answer.status_code == 200, answer.text

    await set_to("refuse")
    try:
        yield lambda: set_to("none")
    finally:
        await set_to("none")


@asynccontextmanager
async def minded(
    client: Client, database: Database, settings: Settings, *guards: GuardedGateway
) -> AsyncIterator[None]:
    """What workers do about their gateways, one worker for each guard."""
    reports = Reports(settings.redis_url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(reports.close)
        for number, guard in enumerate(guards):
            told = report_for_ever(reports, f"{guard.name}/{number}", {guard.name: guard})
            mended = mend_for_ever(client, database, guard, LOOK)
            await stack.enter_async_context(meanwhile(told))
            await stack.enter_async_context(meanwhile(mended))
        yield


def guard_of(gateways: dict[str, PaymentGateway], name: str) -> GuardedGateway:
    guard = gateways[name]
    assert isinstance(guard, GuardedGateway)
    return guard


async def waiting(
    cashier: Cashier, name: str, number: int
) -> tuple[list[PaymentRequest], list[Handle]]:
    """Payments whose first call was in vain, and who now wait for an hour."""
    requests = [
        await cashier.prepare(0, 2000, gateway=name, waits=DUE_LATER) for _ in range(number)
    ]
    handles = [await cashier.start(request) for request in requests]
    for handle in handles:
        await due(cashier, handle)
    return requests, handles


async def all_end_before(handles: Sequence[Handle], moments: Sequence[datetime]) -> None:
    """COMPLETED, long before they were due by themselves."""
    for handle, moment in zip(handles, moments, strict=True):
        assert (await handle.result()).status == "COMPLETED"
        closed_at = (await handle.describe()).close_time
        assert closed_at is not None
        assert closed_at < moment - A_STEP / 2


async def hints(client: Client, name: str) -> list[int]:
    """How many the hurry of this gateway sent, between its pauses of a second."""
    handle = client.get_workflow_handle(gateway_hurry_workflow_id(name))
    seconds = [0]
    async for event in handle.fetch_history_events():
        match event.WhichOneof("attributes"):
            case "signal_external_workflow_execution_initiated_event_attributes":
                seconds[-1] += 1
            case "timer_started_event_attributes":
                pause = event.timer_started_event_attributes.start_to_fire_timeout
                assert pause.ToTimedelta() >= timedelta(seconds=1)
            case "timer_fired_event_attributes":
                seconds.append(0)
    return seconds


@pytest.mark.parametrize("minimum_calls", [4, 10_000], ids=["breaker-opens", "few-calls"])
async def test_what_waited_ends_long_before_it_was_due(
    cashier: Cashier,
    connections: Connections,
    settings: Settings,
    temporal_client: Client,
    database: Database,
    minimum_calls: int,
) -> None:
    """Also where so few calls were made that no breaker has opened, and nobody pays anew."""
    name, _ = connections.add(
        breaker_minimum_calls=minimum_calls, breaker_open_seconds=OPEN_SECONDS
    )
    guard = guard_of(connections.gateways, name)
    async with (
        counter(settings, name) as operator,
        outage(cashier.billing) as end_it,
        minded(temporal_client, database, settings, guard),
    ):
        requests, handles = await waiting(cashier, name, 6)
        moments = [await due(cashier, handle) for handle in handles]

        state = "OPEN" if minimum_calls == 4 else "CLOSED"
        down = await operator.says(state, failing=True, payments=6)
        began = datetime.fromisoformat(down["since"] or down["failingSince"])
        assert began < datetime.now(UTC)
        assert began - timedelta(seconds=OPEN_SECONDS) < datetime.fromisoformat(down["retriedAt"])
        assert datetime.fromisoformat(down["waiting"]["since"]) < began
        [worker] = down["workers"]
        assert worker["calls"]["UNKNOWN"] >= 4

        await end_it()
        await all_end_before(handles, moments)

        well = await operator.says("CLOSED", payments=0)
        assert (well["since"], well["retriedAt"], well["failingSince"]) == (None, None, None)
        assert well["waiting"]["since"] is None
    for request in requests:
        assert len(await taken(cashier, request)) == 1
    await assert_clean_slate(cashier.billing)


async def test_two_workers_that_find_it_back_double_nothing(
    cashier: Cashier,
    connections: Connections,
    settings: Settings,
    temporal_client: Client,
    database: Database,
) -> None:
    name, _ = connections.add(breaker_minimum_calls=4, breaker_open_seconds=OPEN_SECONDS)
    profile = GatewayProfile(
        name,
        settings.gateway_url,
        breaker_minimum_calls=4,
        breaker_open_seconds=OPEN_SECONDS,
    )
    another = GuardedGateway(HttpGateway(profile), profile)
    both = (guard_of(connections.gateways, name), another)
    async with counter(settings, name) as operator, outage(cashier.billing) as end_it:
        requests, handles = await waiting(cashier, name, 6)
        moments = [await due(cashier, handle) for handle in handles]
        for _ in range(4):
            await another.inquire(requests[0].gateway_request(requests[0].pivot))
        assert not any(each.is_well for each in both)

        async with minded(temporal_client, database, settings, *both):
            down = await operator.says("OPEN", failing=True, payments=6)
            assert len(down["workers"]) == 2
            await end_it()
            await all_end_before(handles, moments)
            assert len((await operator.says("CLOSED", payments=0))["workers"]) == 2
    await another.close()
    for request in requests:
        assert len(await taken(cashier, request)) == 1
    await assert_clean_slate(cashier.billing)


async def test_a_gateway_that_comes_back_before_the_rest_of_us_is_not_forgotten(
    cashier: Cashier,
    connections: Connections,
    settings: Settings,
) -> None:
    """First the database was away, so that nobody knew about what to ask, and then Temporal."""
    name, line = connections.add(breaker_minimum_calls=4, breaker_open_seconds=OPEN_SECONDS)
    guard = guard_of(connections.gateways, name)
    line.requests_arrive = line.inquiries_work = False
    _, handles = await waiting(cashier, name, 6)
    moments = [await due(cashier, handle) for handle in handles]
    assert not guard.is_well
    url = make_url(settings.database_url)
    host, _, port = settings.temporal_address.partition(":")
    async with (
        cable(str(url.host), int(url.port or 0)) as to_database,
        cable(host, int(port)) as to_temporal,
        connected(url.set(port=to_database.port).render_as_string(hide_password=False)) as far,
    ):
        away = settings.model_copy(update={"temporal_address": f"127.0.0.1:{to_temporal.port}"})
        client = await temporal.connect_when_ready(away)
        await to_database.cut()
        await to_temporal.cut()
        with capture_logs() as said:

            async def told(words: str) -> None:
                async def it_was() -> bool:
                    return any(words in line["event"] for line in said)

                await eventually(it_was)

            async with meanwhile(mend_for_ever(client, far, guard, LOOK)):
                await told("nobody knows who waits")
                line.requests_arrive = line.inquiries_work = True
                await to_database.plug()
                await told("not hurried yet")
                await to_temporal.plug()
                await all_end_before(handles, moments)
    await assert_clean_slate(cashier.billing)


async def test_so_many_ask_in_a_second_and_no_more(
    cashier: Cashier, connections: Connections, settings: Settings, temporal_client: Client
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    many = 2 * HINTS_A_SECOND + 1
    _, handles = await waiting(cashier, name, many)
    moments = [await due(cashier, handle) for handle in handles]
    line.requests_arrive = True

    async with counter(settings, name) as operator:
        await operator.says("UNKNOWN", payments=many)
        told = await operator.hurry()

    assert told["waiting"]["payments"] == many
    await all_end_before(handles, moments)
    assert await hints(temporal_client, name) == [HINTS_A_SECOND, HINTS_A_SECOND, 1]
    await assert_clean_slate(cashier.billing)


async def test_a_hurry_of_very_many_goes_on_in_another_history(
    cashier: Cashier, connections: Connections, temporal_client: Client
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    _, handles = await waiting(cashier, name, HINTS_A_SECOND + 1)
    moments = [await due(cashier, handle) for handle in handles]
    line.requests_arrive = True

    await start_gateway_hurry(temporal_client, HurryRequest(name, per_execution=HINTS_A_SECOND))

    await all_end_before(handles, moments)
    assert await hints(temporal_client, name) == [1], "the last history has the rest"


async def test_a_hurry_while_it_is_down_changes_nothing(
    cashier: Cashier, connections: Connections, settings: Settings, temporal_client: Client
) -> None:
    name, line = connections.add()
    line.requests_arrive = line.inquiries_work = False
    [request], [handle] = await waiting(cashier, name, 1)
    before = await due(cashier, handle)
    hurried = temporal_client.get_workflow_handle(gateway_hurry_workflow_id(name))

    async with counter(settings, name) as operator:
        for _ in range(3):
            calls = len(line.sent)
            await operator.hurry()
            await hurried.result()

            async def asked(calls: int = calls) -> bool:
                return len(line.sent) > calls

            await eventually(asked)
            assert abs(await due(cashier, handle) - before) < A_STEP / 2

        assert await cashier.status(request) == "UNKNOWN"
        line.requests_arrive = line.inquiries_work = True
        await operator.hurry()
    await all_end_before([handle], [before])
    assert len(await taken(cashier, request)) == 1
    await assert_clean_slate(cashier.billing)


async def test_who_asks_during_a_hurry_has_everybody_asked_once_more(
    cashier: Cashier, connections: Connections, settings: Settings, temporal_client: Client
) -> None:
    """The calls of those who were hinted first may have met the breaker of another worker."""
    name, line = connections.add()
    line.requests_arrive = False
    _, handles = await waiting(cashier, name, HINTS_A_SECOND)
    moments = [await due(cashier, handle) for handle in handles]
    hurried = temporal_client.get_workflow_handle(gateway_hurry_workflow_id(name))

    async with counter(settings, name) as operator:
        await operator.hurry()

        async def has_hinted() -> bool:
            return len(line.sent) == 2 * HINTS_A_SECOND

        await eventually(has_hinted)
        assert (await hurried.describe()).status is WorkflowExecutionStatus.RUNNING
        line.requests_arrive = True
        await operator.hurry()
    await all_end_before(handles, moments)
    await assert_clean_slate(cashier.billing)


async def test_refunds_and_watches_are_hurried_too(
    cashier: Cashier, connections: Connections, settings: Settings
) -> None:
    name, line = connections.add()
    paid = await a_paid_order(cashier, gateway=name)
    watched = await cashier.prepare(
        0, 2000, gateway=name, waits=replace(BRISK, ladder=(*BRISK.ladder[:-1], A_STEP))
    )
    line.requests_arrive = False
    watching = await cashier.start(watched)
    await until(cashier, watched, "FAILED")
    await due(cashier, watching)
    refund = replace(await cashier.prepare_refund(paid, 1000), waits=DUE_LATER)
    refunding = asyncio.create_task(cashier.refund(refund))

    async with counter(settings, name) as operator:
        await operator.says("UNKNOWN", payments=0, refunds=1, watches=1)
        line.requests_arrive = True
        await line.deliver_late(line.sent[1])
        await operator.hurry()

        assert (await refunding).status == "COMPLETED"
        assert (await watching.result()).status == "FAILED"

        await operator.says("UNKNOWN", payments=0, refunds=0, watches=0)
    assert [row["status"] for row in (await cashier.billing.book(watched.payment_id))["refunds"]]


async def test_a_gateway_that_nobody_has_heard_of_is_not_hurried(billing: Billing) -> None:
    answer = await billing.api.post("/api/v1/gateways/no-such-gateway/hurry")

    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is no gateway 'no-such-gateway'."


async def test_a_worker_that_was_killed_does_not_go_on_saying_that_all_is_well(
    settings: Settings, stack: Stack
) -> None:
    name = f"pg-{uuid4().hex}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.reporting_process", name, "worker"),
        env=services.environment(stack),
    )
    try:
        async with counter(settings, name) as operator:
            told = await operator.says("CLOSED")
            assert [each["worker"] for each in told["workers"]] == ["worker"]

            os.kill(process.pid, signal.SIGKILL)

            assert (await operator.says("UNKNOWN"))["workers"] == []
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_without_valkey_nobody_knows(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"})
    async with counter(away, "simulator") as operator:
        assert (await operator.says("UNKNOWN"))["workers"] == []
