"""How a worker process ends: nothing that was sent to a gateway is cut off."""

from collections.abc import Mapping
from datetime import timedelta

from gateway.client import PaymentGateway
from runtime import gateways as gateway_composition
from runtime import temporal
from runtime.settings import Settings
from runtime.workers import payments_worker, running
from store.database import Database
from tests.support.companions import Companion
from tests.support.conditions import patience
from workflows import policies


async def test_all_task_queues_are_told_to_stop_at_once() -> None:
    first, second = Companion(), Companion()
    first.other, second.other = second, first

    async with patience(), running(first, second):
        assert not first.told.is_set()

    assert first.told.is_set()
    assert second.told.is_set()


async def test_a_worker_that_stops_leaves_the_slowest_gateway_all_of_its_time(
    settings: Settings,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
) -> None:
    slow = settings.model_copy(update={"gateway_read_timeout_seconds": 90.0})
    grace = gateway_composition.longest_call(slow)

    # A client has one worker of a kind.
    client = await temporal.connect_when_ready(settings)
    worker = payments_worker(client, database, gateways, grace=grace)

    call = policies.gateway_call("charge", timedelta(seconds=90))
    assert worker.config()["graceful_shutdown_timeout"] == call["start_to_close_timeout"]
    assert grace > timedelta(seconds=90)
