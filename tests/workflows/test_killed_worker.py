"""A worker killed with SIGKILL in the middle of everything: another one finishes all of it."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import product

import pytest
from temporalio.client import Client
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from dev import process
from domain.payment import PaymentRequest
from gateway.client import PaymentGateway
from runtime import temporal
from runtime.settings import Settings
from runtime.workers import payments_worker, running
from service.starts import start_payment, start_refund
from store.database import Database
from tests.support.billing import GOOD_CARD
from tests.support.cashier import TWO_CALLS, Cashier, Planned, workflow_id
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import patience
from tests.support.faults import AT_ONCE, Fault, FaultInjector
from tests.support.namespaces import a_namespace
from tests.support.parked_worker import Stop, as_plan
from tests.workflows.test_payment_saga import STEPS, UNDO
from tests.workflows.test_pursuit import PATIENT, SPLIT

REFUNDS_DECLINED = "4000000000019002"
LAST = {"simulator": "charge", TWO_CALLS: "capture"}


@pytest.fixture(scope="module")
def elsewhere(settings: Settings, payments: None) -> Settings:
    """A namespace of its own, where the worker of the other tests does not look."""
    return settings.model_copy(update={"temporal_namespace": a_namespace("killed")})


@asynccontextmanager
async def a_worker(
    client: Client,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
) -> AsyncIterator[None]:
    """A worker in this process for the namespace of the client."""
    async with running(
        payments_worker(client, database, gateways, SandboxedWorkflowRunner(), (faults,))
    ):
        yield


@dataclass(frozen=True)
class Case:
    """One saga, where it is parked, and how it must end."""

    request: Planned
    step: str
    after_its_effect: bool
    ends: str

    @property
    def stop(self) -> Stop:
        return Stop(workflow_id(self.request), self.step, self.after_its_effect)

    async def end(self, client: Client) -> str:
        """Start the saga, or find it running, and wait for its end."""
        if isinstance(self.request, PaymentRequest):
            return (await (await start_payment(client, self.request)).result()).status
        return (await (await start_refund(client, self.request)).result()).status


async def test_whatever_a_killed_worker_left_is_finished_by_another(
    elsewhere: Settings,
    cashier: Cashier,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
) -> None:
    client = await temporal.connect_when_ready(elsewhere)
    await cashier.billing.top_up(1_000_000)
    patient = replace(cashier, waits=PATIENT)
    cases = [*await _payments(patient), *await _refunds(patient)]
    ends = [asyncio.create_task(case.end(client)) for case in cases]

    await _run_and_kill(elsewhere, [case.stop for case in cases])
    async with a_worker(client, database, gateways, faults), patience():
        seen = dict(zip((case.stop for case in cases), await asyncio.gather(*ends), strict=True))

    print(f"\n{len(cases)} sagas of a killed worker")
    assert seen == {case.stop: case.ends for case in cases}
    await assert_clean_slate(cashier.billing)


async def test_a_payment_cancelled_before_any_worker_saw_it_is_cancelled(
    elsewhere: Settings,
    cashier: Cashier,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
) -> None:
    client = await temporal.connect_when_ready(elsewhere)
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)
    handle = await start_payment(client, request)
    await handle.cancel()

    async with a_worker(client, database, gateways, faults):
        outcome = await handle.result()

    assert outcome.status == "CANCELLED"
    assert not {"wallet.hold", "gateway.charge"} & set(cashier.calls(request))
    await assert_clean_slate(cashier.billing)


async def _payments(cashier: Cashier) -> list[Case]:
    """Orders with coupon, stock, points, wallet and card, one parked at each step."""
    cases = []
    for gateway, steps in STEPS.items():
        steps += (AT_ONCE,) if gateway != TWO_CALLS else ()
        for step in [*steps, "payment.complete"]:
            request = await cashier.prepare(*SPLIT, gateway=gateway, goods=await cashier.goods())
            cases.append(Case(request, step, True, "COMPLETED"))
        for step, undone in product([*steps, *UNDO.values(), "payment.fail"], (1, 2)):
            request = await cashier.prepare(*SPLIT, gateway=gateway, goods=await cashier.goods())
            await cashier.misbehave(request, "decline", operation=LAST[gateway])
            if undone == 2:
                # By the second worker: the first one loses its answer by dying.
                for undo in (*UNDO.values(), "gateway.void"):
                    cashier.plan(request, undo, Fault.LOSE_ANSWER)
            cases.append(Case(request, step, True, "FAILED"))
    return cases


async def _refunds(cashier: Cashier) -> list[Case]:
    cases = []
    for number, last in ((GOOD_CARD, "refund.complete"), (REFUNDS_DECLINED, "refund.fail")):
        paid = await cashier.prepare(0, 50_000, number=number)
        assert (await cashier.pay(paid)).status == "COMPLETED"
        for step, after in product(["refund.open", "gateway.refund", last], [False, True]):
            request = await cashier.prepare_refund(paid, 1000)
            ends = "COMPLETED" if number == GOOD_CARD else "FAILED"
            cases.append(Case(request, step, after, ends))
    return cases


async def _run_and_kill(settings: Settings, stops: list[Stop]) -> None:
    """Run a worker process until every saga is parked where it shall be, then kill it."""
    async with parked_worker(settings, stops):
        pass


@asynccontextmanager
async def parked_worker(settings: Settings, stops: list[Stop]) -> AsyncIterator[Process]:
    """A worker process in which every saga is parked where it shall be; killed at the end."""
    told = settings.model_dump(
        mode="json", exclude_defaults=True, exclude={"gateway_webhook_secret"}
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.parked_worker",
        stdin=PIPE,
        stdout=PIPE,
        env={
            **process.python_environment(),
            **{name.upper(): str(value) for name, value in told.items()},
        },
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(as_plan(stops))
        worker.stdin.write_eof()
        waited_for = {stop.workflow_id for stop in stops}
        while waited_for:
            async with patience():  # for each line: as long as one after the other is parked
                line = await worker.stdout.readline()
            assert line, "the worker has ended"
            # Temporal's own warnings come here too.
            waited_for.discard(line.decode().strip())
        yield worker
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()
