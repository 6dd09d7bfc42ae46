"""The relay's owner: one, taken over when its worker dies or freezes, never without for long."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.outbox import RelayTurn
from domain.workflow_id import OUTBOX_WORKFLOW_ID
from runtime import temporal
from runtime.settings import Settings
from runtime.workers import outbox_worker, running
from service.starts import start_relay
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.relays import RelayBed, Writers, assert_in_order, deliveries, relay_bed
from workflows import policies
from workflows.outbox_relay import OutboxRelay


@pytest.fixture
async def bed(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RelayBed]:
    async with relay_bed(settings, tmp_path_factory.mktemp("relays")) as made:
        yield made


@pytest.fixture
async def client(bed: RelayBed) -> Client:
    """Of a namespace that no other worker serves."""
    return await temporal.connect_when_ready(bed.settings)


async def run_of(client: Client) -> str | None:
    """The run that the relay is in."""
    return (await client.get_workflow_handle(OUTBOX_WORKFLOW_ID).describe()).run_id


async def test_a_relay_outlives_a_freeze_and_a_death_without_loss_or_reordering(
    bed: RelayBed, client: Client
) -> None:
    await start_relay(client)
    first = bed.start_relay("worker")
    async with Writers(bed.database):
        await eventually(bed.published)
        second = bed.start_relay("worker")

        first.process.send_signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        await bed.catches_up()
        print(f"frozen: {time.monotonic() - frozen_at:.1f} s until another had caught up")
        first.process.send_signal(signal.SIGCONT)
        await bed.catches_up()

        second.process.send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        await bed.catches_up()
        print(f"killed: {time.monotonic() - killed_at:.1f} s until another had caught up")
    await bed.catches_up()

    found = deliveries(bed.settings, Writers.TOPICS)
    assert {each.event_id for each in found} == await bed.committed_of(Writers.TOPICS)
    assert_in_order(found)


async def test_a_second_start_finds_the_relay_running(client: Client) -> None:
    await start_relay(client)
    before = await run_of(client)

    await asyncio.gather(*(start_relay(client) for _ in range(4)))

    assert await run_of(client) == before


async def test_a_worker_that_is_told_to_stop_stops_soon(bed: RelayBed, client: Client) -> None:
    await start_relay(client)
    async with (
        asyncio.timeout(None) as bound,
        running(outbox_worker(client, bed.database, bed.settings.kafka)),
    ):
        async with Writers(bed.database):

            async def publishes() -> bool:
                return await bed.published() > 100

            await eventually(publishes)
        # It does not wait until the turn of the relay is over, which is in a day.
        bound.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)


async def test_a_relay_that_is_told_to_stop_hands_over_at_once(
    bed: RelayBed, client: Client
) -> None:
    await start_relay(client)
    async with Writers(bed.database):
        async with running(outbox_worker(client, bed.database, bed.settings.kafka)):
            await eventually(bed.published)
            bed.start_relay("worker")

            async def stands_by() -> bool:
                return len(await pollers(client)) > 1

            await eventually(stands_by)

        # Nobody waits for heartbeats that do not come.
        handle = client.get_workflow_handle(OUTBOX_WORKFLOW_ID)

        async def is_taken_over() -> WorkflowExecutionDescription | None:
            found = await handle.describe()
            [relay] = found.raw_description.pending_activities
            return None if relay.last_worker_identity in ("", client.identity) else found

        found = await eventually(is_taken_over)
        await bed.catches_up()

    assert found is not None
    [relay] = found.raw_description.pending_activities
    assert not relay.last_failure.HasField("timeout_failure_info")


async def pollers(client: Client) -> set[str]:
    """Who asks for the relay's workflow tasks."""
    described = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=policies.OUTBOX),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    return {each.identity for each in described.pollers}


class ShortTurns:
    """A relay with nothing to do, whose turns are over at once."""

    @activity.defn(name="outbox.relay")
    async def relay(self, turn: RelayTurn) -> int:
        return 0


async def test_a_relay_goes_on_after_its_turn_with_a_short_history(client: Client) -> None:
    turns = ShortTurns()
    worker = Worker(
        client,
        task_queue=policies.OUTBOX,
        workflows=[OutboxRelay],
        activities=[turns.relay],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await start_relay(client)
    first = await run_of(client)

    async def is_in_another_run() -> bool:
        return await run_of(client) != first

    async with running(worker):
        await eventually(is_in_another_run)

    handle = client.get_workflow_handle(OUTBOX_WORKFLOW_ID, run_id=first)
    assert (await handle.describe()).history_length < 15


class Dying:
    """A relay whose workers die, again and again, within one turn."""

    @activity.defn(name="outbox.relay")
    async def relay(self, turn: RelayTurn) -> int:
        raise RuntimeError("dead")


async def test_a_relay_is_taken_over_as_soon_after_many_deaths_as_after_the_first(
    client: Client,
) -> None:
    dying = Dying()
    worker = Worker(
        client,
        task_queue=policies.OUTBOX,
        workflows=[OutboxRelay],
        activities=[dying.relay],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await start_relay(client)
    handle = client.get_workflow_handle(OUTBOX_WORKFLOW_ID)

    async def after_many() -> WorkflowExecutionDescription | None:
        found = await handle.describe()
        pending = found.raw_description.pending_activities
        return found if pending and pending[0].attempt > 6 else None

    async with running(worker):
        found = await eventually(after_many)

    assert found is not None
    waits = found.raw_description.pending_activities[0].current_retry_interval.ToTimedelta()
    assert waits < policies.RELAY_HEARTBEAT / 2
    # What is tried again is not written down each time.
    assert found.history_length < 15
