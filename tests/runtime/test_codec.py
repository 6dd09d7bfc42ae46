"""What Temporal keeps is sealed, and whoever has the keys reads it wherever it belongs."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from google.protobuf.json_format import Parse
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.converter import ActivitySerializationContext, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from domain.payment import PaymentOutcome, PaymentStatus
from domain.terms import Terms
from domain.waits import Waits
from gateway.client import PaymentGateway
from runtime.codec import ENCODING, LARGE, EncryptionCodec
from runtime.schedules import MONTHLY, ensure_schedules
from runtime.settings import Settings
from runtime.workers import payments_worker, running
from service.standing import PendingActivity, standing
from store.database import Database
from store.key_ring import KeyRing, Tampered, UnknownKey, parse
from tests.support.billing import Billing
from tests.support.cashier import Cashier
from tests.support.conditions import eventually
from tests.support.faults import Fault, FaultInjector
from tests.support.sealing import NEW, OLD, connected, payloads, with_keys

DECLINED = "4000000000000002"

HERE = WorkflowSerializationContext("billing", "payment/p-1")
SAID = Payload(metadata={"encoding": b"json/plain"}, data=b'"bk_4242"')


def codec(keys: str = OLD) -> EncryptionCodec:
    return EncryptionCodec(parse(keys), "billing")


async def test_a_payload_is_read_in_its_own_workflow_and_nowhere_else() -> None:
    [kept] = await codec().with_context(HERE).encode([SAID])

    assert b"4242" not in kept.SerializeToString()
    assert kept.metadata["encoding"] == ENCODING
    activity = ActivitySerializationContext(
        "billing", "1", None, None, HERE.workflow_id, None, is_local=True
    )
    for context in (HERE, activity):
        assert await codec().with_context(context).decode([kept]) == [SAID]
    for namespace, workflow_id in (("billing", "payment/p-2"), ("other", "payment/p-1")):
        elsewhere = codec().with_context(WorkflowSerializationContext(namespace, workflow_id))
        with pytest.raises(Tampered):
            await elsewhere.decode([kept])


async def test_a_payload_that_claims_another_workflow_is_refused() -> None:
    [kept] = await codec().with_context(HERE).encode([SAID])
    kept.metadata["encryption-workflow-id"] = b"payment/p-2"

    victim = codec().with_context(WorkflowSerializationContext("billing", "payment/p-2"))
    for reader in (victim, codec()):
        with pytest.raises(Tampered):
            await reader.decode([kept])


async def test_what_a_schedule_keeps_is_read_by_each_workflow_that_it_starts() -> None:
    schedule = codec().with_context(WorkflowSerializationContext("billing", "monthly"))
    [kept] = await schedule.encode([SAID])

    async def read_by(workflow_id: str) -> list[Payload]:
        started = WorkflowSerializationContext("billing", workflow_id)
        return await codec().with_context(started).decode([kept])

    assert await read_by("monthly-2026-11-01T12:00:00Z") == [SAID]
    for other in ("monthly-2", "monthly-2026-11-01T12:00:00Z-2", "x-2026-11-01T12:00:00Z", ""):
        with pytest.raises(Tampered):
            await read_by(other)


async def test_large_payloads_are_compressed_and_others_are_not() -> None:
    for size in (0, 1, LARGE, 1_000_000):
        said = Payload(metadata={"encoding": b"json/plain"}, data=b"a" * size)
        [kept] = await codec().encode([said])
        assert await codec().decode([kept]) == [said]
        assert (len(kept.data) < len(said.data)) == (size >= LARGE)


async def test_plain_payloads_are_read_as_they_are() -> None:
    assert await codec().with_context(HERE).decode([SAID]) == [SAID]


async def test_a_key_that_is_not_there_is_named() -> None:
    [kept] = await codec(OLD).encode([SAID])

    assert await codec(f"{NEW},{OLD}").decode([kept]) == [SAID]
    with pytest.raises(UnknownKey, match="'old'"):
        await codec(NEW).decode([kept])


@asynccontextmanager
async def worker(
    client: Client,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
) -> AsyncIterator[None]:
    """Of payments, with the keys of this client."""
    working = payments_worker(client, database, gateways, SandboxedWorkflowRunner(), (faults,))
    async with running(working):
        yield


async def events(client: Client, workflow_id: str) -> History:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return Parse(history.to_json(), History(), ignore_unknown_fields=True)


async def test_nothing_of_a_payment_stands_in_clear_in_its_history(
    settings: Settings,
    billing: Billing,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
) -> None:
    client = await connected(with_keys(settings, OLD))
    cashier = Cashier(billing, client, faults)
    await billing.top_up(5000)
    request = await cashier.prepare(2000, 1000)
    cashier.plan(request, "gateway.charge", Fault.FAIL_BEFORE)

    async with worker(client, database, gateways, faults):
        assert (await cashier.pay(request)).status is PaymentStatus.COMPLETED

    history = await events(client, f"payment/{request.payment_id}")
    kept = list(payloads(history))
    sealed = [each for each in kept if each.metadata["encoding"] == ENCODING]
    assert {each.metadata["encryption-workflow-id"] for each in sealed} == {
        f"payment/{request.payment_id}".encode()
    }
    # Of a local activity, Temporal's SDK notes its name and times, which no codec sees.
    assert {frozenset(json.loads(each.data)) for each in kept if each not in sealed} == {
        frozenset({"seq", "attempt", "activity_id", "activity_type", "activation_index"})
        | {"complete_time", "backoff", "original_schedule_time"}
    }
    said = history.SerializeToString()
    for word in (request.billing_key, "planned: nothing was done", "KRW", " of wallet "):
        assert word.encode() not in said, word


async def test_a_key_that_is_not_there_yet_makes_a_payment_wait_and_fails_nothing(
    settings: Settings,
    billing: Billing,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
) -> None:
    ahead = with_keys(settings, NEW)
    behind = with_keys(settings, OLD, namespace=ahead.temporal_namespace)
    both = with_keys(settings, OLD, NEW, namespace=ahead.temporal_namespace)
    cashier = Cashier(billing, await connected(ahead), faults)
    request = await cashier.prepare(0, 1000)
    handle = await cashier.start(request)
    client = await connected(behind)

    async def words_of_the_failed_task() -> str:
        for event in (await events(client, handle.id)).events:
            if event.event_type is EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                failure = event.workflow_task_failed_event_attributes.failure
                here = WorkflowSerializationContext(client.namespace, handle.id)
                return str(await client.data_converter.with_context(here).decode_failure(failure))
        return ""

    async with worker(client, database, gateways, faults):
        assert "'new', which is not in PAYLOAD_KEYS" in await eventually(words_of_the_failed_task)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    client = await connected(both)
    async with worker(client, database, gateways, faults):
        outcome = await client.get_workflow_handle(handle.id, result_type=PaymentOutcome).result()
    assert outcome.status is PaymentStatus.COMPLETED


@pytest.mark.parametrize("before", [(), (OLD,)], ids=["no key", "the old key"])
async def test_what_began_before_the_current_key_is_read_and_goes_on_with_it(
    before: tuple[str, ...],
    settings: Settings,
    billing: Billing,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
) -> None:
    old = with_keys(settings, *before)
    cashier = Cashier(billing, await connected(old), faults)
    await billing.top_up(5000)
    # The wallet's part is undone by a regular activity, whose last error Temporal tells.
    request = await cashier.prepare(2000, 1000, number=DECLINED)
    cashier.plan(request, "wallet.release", Fault.FAIL_BEFORE, times=1_000)
    renewed = await connected(with_keys(settings, NEW, *before, namespace=old.temporal_namespace))

    async def stuck() -> list[PendingActivity]:
        found = await standing(renewed, handle.id)
        assert found is not None
        return [each for each in found.activities if each.last_error]

    async with worker(cashier.client, database, gateways, faults):
        handle = await cashier.start(request)
        [waiting] = await eventually(stuck)
    async with worker(renewed, database, gateways, FaultInjector()):
        outcome = await renewed.get_workflow_handle(handle.id, result_type=PaymentOutcome).result()

    assert waiting.summary == f"give back 2,000 KRW of wallet {billing.customer_id}"
    assert waiting.last_error == "planned: nothing was done"
    assert outcome.status is PaymentStatus.FAILED


async def test_the_words_of_a_failure_are_sealed_and_its_type_is_not(settings: Settings) -> None:
    client = await connected(with_keys(settings, OLD))
    converter = client.data_converter.with_context(HERE)
    said = Failure()
    await converter.encode_failure(ApplicationError("Mrs Kim has no money", "x", type="no"), said)

    assert b"Kim" not in said.SerializeToString()
    assert said.application_failure_info.type == "no"
    assert "Mrs Kim has no money" in str(await converter.decode_failure(said))


async def test_a_schedule_is_sealed_anew_under_the_current_key(settings: Settings) -> None:
    first = with_keys(settings)
    key_ids = []
    for keys in ((), (OLD,), (NEW, OLD), (NEW,)):
        client = await connected(with_keys(settings, *keys, namespace=first.temporal_namespace))

        async def key_id(client: Client = client) -> str:
            await ensure_schedules(client, Terms(Waits()))
            described = await client.get_schedule_handle(MONTHLY).describe()
            [kept] = described.raw_description.schedule.action.start_workflow.input.payloads
            return kept.metadata["encryption-key-id"].decode() or "none"

        wanted = keys[0].partition(":")[0] if keys else "none"

        async def is_renewed(wanted: str = wanted) -> bool:
            return await key_id() == wanted

        await eventually(is_renewed)
        key_ids.append(wanted)
    assert key_ids == ["none", "old", "new", "new"]


def test_without_keys_there_is_no_codec(temporal_client: Client) -> None:
    assert temporal_client.data_converter.payload_codec is None
    assert KeyRing().current is None
