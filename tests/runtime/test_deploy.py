"""Code of the workers is replaced while money is in flight."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.payment import PaymentOutcome, PaymentRequest
from runtime import temporal
from runtime.probes import Standing
from runtime.replay import Replay, replays
from runtime.settings import Settings
from runtime.workers import PAYMENTS
from service.deployment import Stuck, Trouble, builds, stuck
from service.standing import standing
from service.starts import start_payment
from tests.support.billing import Billing
from tests.support.cashier import Cashier, Handle, workflow_id
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import eventually, patience
from tests.support.faults import FaultInjector
from tests.support.namespaces import a_namespace
from tests.support.release import CHANGED, Plan, Release, released
from tests.support.unfinished import SENT
from workflows.payment_saga import PaymentSaga

IN_FLIGHT, WAITING, NEW = 90, 10, 20
"""Those that wait are few enough for the gateway's breaker."""

UNHURRIED = replace(SENT, read_timeout=timedelta(hours=1))
"""The workflow waits for the gateway's answer however slow the machine is."""


@pytest.fixture
def elsewhere(settings: Settings, payments: None) -> Settings:
    """A namespace of its own, where the worker of the other tests does not look."""
    return settings.model_copy(update={"temporal_namespace": a_namespace("deploy")})


@pytest.fixture
async def client(elsewhere: Settings) -> Client:
    return await temporal.connect_when_ready(elsewhere)


@pytest.fixture
def cashier(billing: Billing, client: Client, faults: FaultInjector) -> Cashier:
    return Cashier(billing, client, faults)


def of_build(settings: Settings, build: str) -> Settings:
    return settings.model_copy(update={"temporal_worker_build_id": build})


async def waiting(cashier: Cashier, count: int) -> list[PaymentRequest]:
    """Payments whose charge was captured, but the PG's answer was lost: their next thought is in an
    hour, or when the PG's webhook comes."""
    requests = [await cashier.prepare(0, 2000, waits=SENT) for _ in range(count)]
    for each in requests:
        await cashier.misbehave(each, "lose-answer", operation="charge")
    return requests


async def looked_at(client: Client, workflows: Sequence[type]) -> list[Replay]:
    return [each async for each in replays(client, workflows)]


async def in_trouble(client: Client) -> Stuck:
    """Once somebody is; the list of workflows is a moment behind."""

    async def found() -> Stuck | None:
        now = await stuck(client)
        return now if now.total else None

    known = await eventually(found)
    assert known is not None
    return known


async def test_code_that_cannot_go_on_with_a_payment_is_noticed_before_it_is_released_and_after(
    elsewhere: Settings, client: Client, cashier: Cashier
) -> None:
    [request] = await waiting(cashier, 1)
    id_ = workflow_id(request)
    handle = await start_payment(client, request)
    async with released(elsewhere, Plan()) as ours:
        await eventually(partial(_is, cashier, request, "UNKNOWN"))
        await ours.told_to_stop()
        await ours.stopped()

    [good] = await looked_at(client, PAYMENTS)
    [bad] = await looked_at(client, CHANGED)
    assert (good.workflow_id, good.workflow_type, good.divergence) == (id_, "PaymentSaga", None)
    assert bad.stops
    assert "Nondeterminism error" in (bad.divergence or "")

    async with released(elsewhere, Plan(changed=True)):
        await handle.signal(PaymentSaga.gateway_hint)
        found = await in_trouble(client)
        remarks = await ready(client, cashier).remarks()
    told = await standing(client, id_)
    assert found.counts == {Trouble.TASKS_FAIL: 1, Trouble.NO_WORKER: 0}
    assert [each.workflow_id for each in found.first] == [id_]
    assert "NonDeterministicError" in found.first[0].cause
    assert remarks == ["Workflows that cannot go on: 1. See `billing deploy stuck`."]
    assert told is not None
    assert "Nondeterminism error" in (told.task_failure or "")

    # Nothing was undone: with the code that it began in it goes on.
    async with released(elsewhere, Plan()), patience():
        outcome: PaymentOutcome = await handle.result()
    assert outcome.status == "COMPLETED"
    await assert_clean_slate(cashier.billing)


def ready(client: Client, cashier: Cashier) -> Standing:
    """A worker of this namespace, as its probe knows it."""
    standing = Standing(asyncio.Event())
    standing.works(client, cashier.billing.database, [])
    return standing


async def _is(cashier: Cashier, request: PaymentRequest, status: str) -> bool:
    return await cashier.status(request) == status


async def test_a_hundred_payments_in_flight_outlive_the_change_to_a_release_that_could_not_go_on(
    elsewhere: Settings, client: Client, cashier: Cashier
) -> None:
    in_flight = [await cashier.prepare(0, 2000, waits=UNHURRIED) for _ in range(IN_FLIGHT)]
    undecided = await waiting(cashier, WAITING)
    old, plan = of_build(elsewhere, "1"), Plan(held=[each.payment_id for each in in_flight])
    async with released(old, plan) as first, released(old, plan) as second:
        await is_current(client, "1")
        held = [await start_payment(client, each) for each in in_flight]
        await eventually(lambda: _all_held(plan, first, second))
        waits = [await start_payment(client, each) for each in undecided]
        for each in undecided:
            await eventually(partial(_is, cashier, each, "UNKNOWN"))

        await eventually(lambda: _pins(client, "1", IN_FLIGHT + WAITING))

        async with released(of_build(elsewhere, "2"), Plan(changed=True)):
            told = await looked_at(client, CHANGED)
            await is_current(client, "2")
            added = [await cashier.prepare(0, 2000) for _ in range(NEW)]
            ends = [(await start_payment(client, each)).result() for each in added]
            async with patience():
                after = await asyncio.gather(*ends)

            # One goes while the gateway has its calls; then the answers come.
            await first.told_to_stop()
            first.let_go()
            second.let_go()
            await first.stopped()
            for handle in waits:
                await handle.signal(PaymentSaga.gateway_hint)
            async with patience():
                before = await asyncio.gather(*[each.result() for each in (*held, *waits)])
            await eventually(lambda: _pins(client, "1", 0))
            await second.told_to_stop()
            await second.stopped()

    assert len(told) == IN_FLIGHT + WAITING
    assert all(each.divergence and each.build == "1" and not each.stops for each in told)
    assert {each.status for each in (*before, *after)} == {"COMPLETED"}
    assert (await stuck(client)).total == 0
    # Of those that were in flight nobody ever had to find out what became of them.
    assert not any([await _was_unknown(each) for each in held])
    assert all([await _was_unknown(each) for each in waits])
    await assert_clean_slate(cashier.billing)


async def is_current(client: Client, build: str) -> None:
    """From now on what begins is this build's; Temporal knows of it a moment after its first
    worker has come."""
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name="billing", build_id=build
    )

    async def done() -> bool:
        try:
            await client.workflow_service.set_worker_deployment_current_version(request)
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
                return False
            raise
        return True

    await eventually(done)


async def _all_held(plan: Plan, *releases: Release) -> bool:
    return set(plan.held) <= set().union(*(each.said for each in releases))


async def _pins(client: Client, build: str, count: int) -> bool:
    return [each.pinned for each in await builds(client) if each.id == build] == [count]


async def _was_unknown(handle: Handle) -> bool:
    """Whether its outcome was ever unknown, to the gateway or to us."""
    history = await handle.fetch_history()
    return any(b"UNKNOWN" in event.SerializeToString() for event in history.events)
