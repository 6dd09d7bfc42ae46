"""Code of the workers is replaced while money is in flight."""

from collections.abc import Sequence
from uuid import uuid4

import pytest
from temporalio.client import Client

from domain.payment import PaymentOutcome, PaymentRequest
from runtime import temporal
from runtime.replay import Replay, replays
from runtime.settings import Settings
from runtime.workers import PAYMENTS
from service.deployment import Stuck, Trouble, stuck
from service.standing import standing
from service.starts import start_payment
from tests.support.billing import Billing
from tests.support.cashier import Cashier, workflow_id
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import eventually, patience
from tests.support.faults import FaultInjector
from tests.support.release import CHANGED, Plan, released
from tests.support.unfinished import SENT
from workflows.payment_saga import PaymentSaga

IN_FLIGHT, WAITING, NEW = 50, 50, 20


@pytest.fixture
def elsewhere(settings: Settings, payments: None) -> Settings:
    """A namespace of its own, where the worker of the other tests does not look."""
    return settings.model_copy(update={"temporal_namespace": f"deploy-{uuid4().hex}"})


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
        await eventually(lambda: _is(cashier, request, "UNKNOWN"))
        await ours.told_to_stop()
        assert await ours.process.wait() == 0

    [good] = await looked_at(client, PAYMENTS)
    [bad] = await looked_at(client, CHANGED)
    assert (good.workflow_id, good.workflow_type, good.divergence) == (id_, "PaymentSaga", None)
    assert bad.stops
    assert "Nondeterminism error" in (bad.divergence or "")

    async with released(elsewhere, Plan(changed=True)):
        await handle.signal(PaymentSaga.gateway_hint)
        found = await in_trouble(client)
    told = await standing(client, id_)
    assert found.counts == {Trouble.TASKS_FAIL: 1, Trouble.NO_WORKER: 0}
    assert [each.workflow_id for each in found.first] == [id_]
    assert "NonDeterministicError" in found.first[0].cause
    assert told is not None
    assert "Nondeterminism error" in (told.task_failure or "")

    # Nothing was undone: with the code that it began in it goes on.
    async with released(elsewhere, Plan()), patience():
        outcome: PaymentOutcome = await handle.result()
    assert outcome.status == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def _is(cashier: Cashier, request: PaymentRequest, status: str) -> bool:
    return await cashier.status(request) == status
