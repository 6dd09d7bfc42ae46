"""What a worker says of itself: lives, works or what it lacks, and its metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from temporalio.client import Client

from dev import process
from runtime.probes import Standing, listening
from runtime.settings import ConfigurationError, Settings
from store.database import Database
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.databases import connected
from workflows import policies


@asynccontextmanager
async def probed(settings: Settings, standing: Standing) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who asks a worker that has come so far."""
    port = process.free_port()
    with_port = settings.model_copy(update={"worker_port": port})
    async with (
        listening(with_port, standing),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS) as http,
    ):
        yield http


async def test_a_worker_that_waits_for_temporal_lives_and_is_not_ready(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"temporal_address": "127.0.0.1:9"})
    async with probed(nowhere, Standing(asyncio.Event())) as http:
        assert (await http.get("/health/live")).status_code == 200
        ready = await http.get("/health/ready")
        metrics = await http.get("/metrics")

    assert ready.status_code == 503
    assert ready.text == "Temporal has not been reached yet: no task queue is polled."
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert "billing_log_fields_dropped_total " in metrics.text
    assert "process_cpu_seconds_total" in metrics.text


async def test_a_worker_is_ready_while_it_polls(
    settings: Settings, temporal_client: Client, database: Database, payments: None
) -> None:
    standing = Standing(stop := asyncio.Event())
    standing.works(temporal_client, database, [policies.PAYMENTS])
    async with probed(settings, standing) as http:

        async def is_ready() -> bool:
            answer = await http.get("/health/ready")
            return (answer.status_code, answer.text) == (200, "ready\nIt serves payments.")

        await eventually(is_ready)
        stop.set()
        stopping = await http.get("/health/ready")

    assert (stopping.status_code, stopping.text) == (503, "It has been told to stop.")


async def test_readiness_says_all_that_is_missing(
    settings: Settings, temporal_client: Client
) -> None:
    standing = Standing(asyncio.Event())
    async with connected("postgresql://billing_app@127.0.0.1:9/billing") as nobody:
        standing.works(temporal_client, nobody, ["no-such-queue"])
        async with probed(settings, standing) as http:
            ready = await http.get("/health/ready")

    assert ready.status_code == 503
    assert ready.text.splitlines() == [
        "The database does not answer.",
        "The task queue no-such-queue is not polled.",
    ]


async def test_a_port_that_is_taken_is_a_sentence(settings: Settings) -> None:
    async with probed(settings, Standing(asyncio.Event())) as http:
        taken = settings.model_copy(update={"worker_port": http.base_url.port})
        with pytest.raises(ConfigurationError, match="WORKER_PORT: nothing can listen at"):
            async with listening(taken, Standing(asyncio.Event())):
                pass


async def test_without_a_port_nobody_listens(settings: Settings) -> None:
    assert settings.worker_port is None
    async with listening(settings, Standing(asyncio.Event())):
        pass
