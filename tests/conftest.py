"""One real stack per test process; every test brings its own customer, so tests do not meet."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
import structlog
from fastapi import FastAPI
from hypothesis import settings as hypothesis_settings
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from api.app import create_app
from dev import postgres, process, services
from dev.stack import SimulatorOptions, Stack, temporary_stack
from domain.event import TOPICS
from domain.workflow_id import OUTBOX_WORKFLOW_ID
from gateway.book import HttpBook
from gateway.client import PaymentGateway
from runtime import gateways as gateway_composition
from runtime import schema, temporal
from runtime.settings import Settings
from runtime.workers import outbox_worker, payments_worker, running, settlement_worker
from store.database import Database
from tests.support.apart import apart
from tests.support.billing import Billing
from tests.support.clean_slate import assert_everything_agrees
from tests.support.conditions import PATIENCE_SECONDS
from tests.support.databases import connected, execute
from tests.support.faults import FaultInjector
from tests.support.replica import Pair, replicated
from tests.support.updates import patient

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis_settings.register_profile("billing", deadline=None)
hypothesis_settings.load_profile("billing")

# The SDK takes a workflow that has not yielded for 2 s for a deadlock and interrupts its thread
# wherever that is, which on a busy machine is in the middle of anything. This turns it off.
os.environ["TEMPORAL_DEBUG"] = "1"

TIME_SCALE = 200.0
"""Of the simulator: what it does late or slowly takes so many times less."""

OUR_TIME_SCALE = 20.0
"""Of our own waits on it: a call is sent again soon, but for 45 s, so that no window is over only
because the machine is busy. Tests of what comes after a window bring waits of their own."""

READ_TIMEOUT = timedelta(seconds=2)
"""Of one call to the simulator, which answers in milliseconds unless it is told to be silent."""

API_WAIT_SECONDS = 60.0
"""How long an answer may take to be final: a test that wants a 202 asks an API that waits less."""

UI = "http://ui"
"""Where the Temporal UI is said to be."""

SECRET = "whsec_dGVzdHMtb2YtdGhlLWJpbGxpbmctcHJvamVjdA=="


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--row",
        default="",
        help="Of the tables of sagas only rows with this in their name, as a failure prints it.",
    )


@pytest.fixture(scope="session", autouse=True)
def _quiet_logs() -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """PostgreSQL, Valkey, Temporal, Kafka and the gateway simulator, with the schema in place."""
    simulator = SimulatorOptions("http://127.0.0.1:9/unused", SECRET, TIME_SCALE)
    with temporary_stack(TOPICS, simulator) as running_stack, apart(running_stack) as ours:
        schema.upgrade(ours.endpoints.database_owner_url)
        yield ours


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    """What the processes under test are told."""
    values = {name.lower(): value for name, value in stack.endpoints.environment().items()}
    return Settings.model_validate(
        {
            **values,
            "billing_environment": "dev",
            "gateway_webhook_secret": SECRET,
            "api_wait_seconds": API_WAIT_SECONDS,
            "gateway_read_timeout_seconds": READ_TIMEOUT.total_seconds(),
            "time_scale": OUR_TIME_SCALE,
        }
    )


@pytest.fixture(scope="session")
async def database(settings: Settings) -> AsyncIterator[Database]:
    """As the application's role. When all tests are done, whatever they left is compared."""
    async with connected(settings.database_url, pool_size=20) as pool:
        yield pool
        await assert_everything_agrees(pool, HttpBook(settings.gateway_url, ()))


@pytest.fixture(scope="session")
async def owner(settings: Settings) -> AsyncIterator[Database]:
    """As the role that owns the tables: for what a test makes older, or tampers with."""
    async with connected(settings.database_owner_url, pool_size=2) as pool:
        yield pool


@pytest.fixture(scope="session")
async def temporal_client(settings: Settings) -> Client:
    return patient(await temporal.connect_when_ready(settings))


@pytest.fixture(scope="session")
async def gateways(settings: Settings) -> AsyncIterator[Mapping[str, PaymentGateway]]:
    connected = gateway_composition.connect(settings)
    yield connected
    for gateway in connected.values():
        await gateway.close()


@pytest.fixture(scope="session")
def faults() -> FaultInjector:
    """Where tests plan faults for the activities of their own workflows."""
    return FaultInjector()


@pytest.fixture(scope="session")
async def payments(
    temporal_client: Client,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
) -> AsyncIterator[None]:
    """A worker for the task queue `payments`, in this process, with the sandbox on."""
    worker = payments_worker(
        temporal_client, database, gateways, SandboxedWorkflowRunner(), (faults,)
    )
    async with running(worker):
        yield


@pytest.fixture(scope="session")
async def settlements(
    temporal_client: Client, database: Database, faults: FaultInjector, payments: None
) -> AsyncIterator[None]:
    """A worker for the task queue `settlement`, in this process, with the sandbox on."""
    worker = settlement_worker(temporal_client, database, SandboxedWorkflowRunner(), (faults,))
    async with running(worker):
        yield


@pytest.fixture
async def relays(
    temporal_client: Client, database: Database, settings: Settings
) -> AsyncIterator[None]:
    """A worker for the task queue `outbox`, for one test: others look at what still waits.

    It begins with what this test commits, and not with the events of every test before; and as it
    ends with it, no other test waits until its task is handed out again.
    """
    await execute(
        settings.database_owner_url,
        "UPDATE outbox SET published_at = now() WHERE published_at IS NULL",
    )
    worker = outbox_worker(temporal_client, database, settings.kafka)
    try:
        async with running(worker):
            yield
    finally:
        handle = temporal_client.get_workflow_handle(OUTBOX_WORKFLOW_ID)
        with suppress(RPCError):  # It was never started.
            # Shown where the test has failed: at what the relay was.
            print((await handle.describe()).raw_description)
            await handle.terminate("a test")


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """The application in this process, with its lifespan, behind an HTTP client."""
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api") as http:
            yield http


@pytest.fixture(scope="session")
async def api(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """The HTTP API."""
    async with served(create_app(settings)) as http:
        yield http


@pytest.fixture(scope="session")
def api_url(stack: Stack, settings: Settings) -> Iterator[str]:
    """The address of an API in a process of its own, as the commands find it."""
    port = process.free_port()
    told = services.environment(
        stack,
        gateway_webhook_secret=settings.gateway_webhook_secret.get_secret_value(),
        time_scale=settings.time_scale,
        temporal_ui_url=UI,
        log_level="WARNING",
    )
    # Its log is not that of another API which a test starts.
    server = services.start_api(replace(stack, directory=stack.directory / "cli"), port, told)
    try:
        process.wait_until_ready([server])
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop([server])


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A database, with our tables, and its replica."""
    with replicated(tmp_path_factory.mktemp("replicated")) as pair:
        schema.upgrade(postgres.url(pair.primary, postgres.OWNER))
        yield pair


@pytest.fixture(scope="session")
async def simulator(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """The gateway simulator's own API: its book and its control calls."""
    async with httpx2.AsyncClient(base_url=settings.gateway_url, timeout=PATIENCE_SECONDS) as http:
        yield http


@pytest.fixture
async def billing(
    api: httpx2.AsyncClient, simulator: httpx2.AsyncClient, database: Database, payments: None
) -> Billing:
    """A fresh customer with a good card, and the calls that tests make for it."""
    return await Billing.for_new_customer(api, simulator, database)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Where a test's own processes write."""
    return tmp_path
