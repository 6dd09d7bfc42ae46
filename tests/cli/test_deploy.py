"""`billing deploy`: what is said before a release, and of what runs."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from temporalio.common import PinnedVersioningOverride, WorkerDeploymentVersion
from temporalio.service import RPCError

from dev import process
from dev.temporal import start_in_memory
from runtime import temporal
from runtime.settings import Settings
from service import deployment
from service.starts import start_payment
from tests.cli.conftest import Command
from tests.support.billing import Billing
from tests.support.cables import silence
from tests.support.cashier import Cashier, Handle, workflow_id
from tests.support.conditions import eventually
from tests.support.faults import FaultInjector
from tests.support.namespaces import a_namespace
from tests.support.release import Plan, released
from tests.support.unfinished import SENT
from workflows import starts
from workflows.payment_saga import PaymentSaga


@pytest.fixture
async def forgetful(settings: Settings, payments: None, tmp_path: Path) -> AsyncIterator[Settings]:
    """A Temporal that forgets in a second who has asked for work: usually it takes five minutes."""
    port = process.free_port()
    server = start_in_memory(tmp_path, port, {"matching.PollerHistoryTTL": '"1s"'})
    try:
        await asyncio.to_thread(process.wait_until_ready, [server])
        yield settings.model_copy(update={"temporal_address": f"127.0.0.1:{port}"})
    finally:
        await asyncio.to_thread(process.stop, [server])


@pytest.fixture
def elsewhere(settings: Settings, payments: None) -> Settings:
    """A namespace of its own, where the worker of the other tests does not look."""
    return settings.model_copy(update={"temporal_namespace": a_namespace("deploy")})


async def test_a_check_names_what_would_stand_still_and_where_it_would_do_something_else(
    command: Command, elsewhere: Settings, billing: Billing, faults: FaultInjector
) -> None:
    client = await temporal.connect_when_ready(elsewhere)
    cashier = Cashier(billing, client, faults)
    request = await cashier.prepare(0, 2000, waits=SENT)
    await cashier.misbehave(request, "lose-answer", operation="charge")

    async def check(*options: str) -> tuple[int, str]:
        ran = await command(
            "deploy", "check", *options, TEMPORAL_NAMESPACE=elsewhere.temporal_namespace
        )
        return ran.exit_code, ran.stdout

    async def is_unknown() -> bool:
        return await cashier.status(request) == "UNKNOWN"

    nothing = await check()
    async with released(elsewhere, Plan(changed=True)):
        handle = await start_payment(client, request)
        await eventually(is_unknown)
        code, told = await check()
        as_json = await check("--json")
        await handle.signal(PaymentSaga.gateway_hint)
        await handle.result()

    assert nothing == (0, "Nothing would stand still.\n")
    assert code == 1
    assert "PaymentSaga          0 of 1 go on in this code" in told
    assert "1 would stand still: do not release this code." in told
    assert f"  {workflow_id(request)}: [TMPRL1100] Nondeterminism error: " in told
    assert as_json[0] == 1
    assert json.loads(as_json[1])["standStill"] == 1


async def test_the_story_of_a_payment_says_that_its_workflow_cannot_go_on_and_why(
    command: Command, elsewhere: Settings, billing: Billing, faults: FaultInjector
) -> None:
    client = await temporal.connect_when_ready(elsewhere)
    cashier = Cashier(billing, client, faults)
    request = await cashier.prepare(0, 2000, waits=SENT)
    await cashier.misbehave(request, "lose-answer", operation="charge")

    async def story() -> str:
        here = {"TEMPORAL_NAMESPACE": elsewhere.temporal_namespace}
        return (await command("--direct", "payment", "show", request.payment_id, **here)).stdout

    async def is_unknown() -> bool:
        return await cashier.status(request) == "UNKNOWN"

    async def cannot_go_on() -> str:
        told = await story()
        return told if "cannot go on" in told else ""

    async with released(elsewhere, Plan(changed=True)) as another:
        handle = await start_payment(client, request)
        await eventually(is_unknown)
        at_work = await story()
        await another.told_to_stop()
        await another.stopped()
    await handle.signal(PaymentSaga.gateway_hint)
    alone = await story()
    async with released(elsewhere, Plan()):
        failing = await eventually(cannot_go_on)
    async with released(elsewhere, Plan(changed=True)):
        outcome = await handle.result()

    workflow = f"workflow {workflow_id(request)}"
    assert f"{workflow} is at work" in at_work
    assert re.search(f"{workflow} has waited .* for a worker", alone)
    assert f"{workflow} cannot go on: [TMPRL1100] Nondeterminism error" in failing
    assert outcome.status == "COMPLETED"


async def test_a_payment_whose_build_has_no_worker_is_named_with_the_build(
    command: Command, forgetful: Settings, billing: Billing, faults: FaultInjector
) -> None:
    client = await temporal.connect_when_ready(forgetful)
    cashier = Cashier(billing, client, faults)
    request = await cashier.prepare(0, 2000, waits=SENT)
    await cashier.misbehave(request, "lose-answer", operation="charge")
    where = {"TEMPORAL_ADDRESS": forgetful.temporal_address}
    only = PinnedVersioningOverride(WorkerDeploymentVersion("billing", "1"))

    async def is_unknown() -> bool:
        return await cashier.status(request) == "UNKNOWN"

    async def begun() -> Handle | None:
        """Once Temporal knows that build."""
        with suppress(RPCError):
            return await client.start_workflow(
                PaymentSaga.run,
                request,
                versioning_override=only,
                **starts.of_payment(request).by_client(),
            )
        return None

    async with released(of_build(forgetful, "1"), Plan()) as short_lived:
        handle = await eventually(begun)
        assert handle is not None
        await eventually(is_unknown)
        await short_lived.told_to_stop()
        await short_lived.stopped()

        async def is_listed() -> str:
            ran = await command("deploy", "stuck", **where)
            assert ran.exit_code == 0, ran.output
            return ran.stdout

        told = await eventually(is_listed)

        shown = (await command("deploy", "list", "--json", **where)).stdout
    async with released(of_build(forgetful, "1"), Plan()):
        await handle.signal(PaymentSaga.gateway_hint)
        outcome = await handle.result()

    [_, row] = told.splitlines()
    assert row.startswith(f"{workflow_id(request)}  PaymentSaga   no-worker  ")
    assert row.endswith("only a worker of build 1 can go on with it, and none runs")
    pinned = {each["id"]: (each["polled"], each["pinned"]) for each in json.loads(shown)}
    assert pinned["1"] == (False, 1)
    assert outcome.status == "COMPLETED"


def of_build(settings: Settings, build: str) -> Settings:
    return settings.model_copy(update={"temporal_worker_build_id": build})


async def test_a_temporal_that_takes_connections_and_says_nothing_is_not_waited_for(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "TIMEOUT_SECONDS", 0.2)
    async with silence() as silent:
        for words in ("check", "list", "stuck"):
            ran = await command("deploy", words, TEMPORAL_ADDRESS=silent)
            assert str(ran.exception) == "no answer within 0.2 s"
