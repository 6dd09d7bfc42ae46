"""A cashier, invoices, a Temporal whose days are short, and gateways of a test's own."""

import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from gateway.client import GatewayProfile, PaymentGateway
from gateway.guard import GuardedGateway
from gateway.http import HttpGateway
from runtime.settings import Settings
from runtime.temporal import register_search_attributes
from runtime.workers import payments_worker, running, settlement_worker
from store.database import Database
from tests.billing import Billing
from tests.cashier import Cashier
from tests.dunning import Dunning
from tests.fakes import Line
from tests.faults import FaultInjector
from tests.months import Months


@pytest.fixture
def cashier(billing: Billing, temporal_client: Client, faults: FaultInjector) -> Cashier:
    """Pays for a fresh customer."""
    return Cashier(billing, temporal_client, faults)


@pytest.fixture
def dunning(
    billing: Billing, temporal_client: Client, faults: FaultInjector, settlements: None
) -> Dunning:
    """Collects the invoices of a fresh customer."""
    return Dunning(billing, temporal_client, faults)


@pytest.fixture
def months(
    billing: Billing, temporal_client: Client, faults: FaultInjector, settlements: None
) -> Months:
    """Settles the months of a fresh customer."""
    return Months(billing, temporal_client, faults)


@dataclass(frozen=True)
class Skipping:
    """A Temporal of a test's own, whose time leaps from timer to timer."""

    environment: WorkflowEnvironment
    dunning: Dunning


@pytest.fixture
async def skipping(
    billing: Billing,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
) -> AsyncIterator[Skipping]:
    """Days pass in a moment; database and gateway are the real ones."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(Path(sys.executable).parent / "temporal-test-server"),
        data_converter=pydantic_data_converter,
    ) as environment:
        client = environment.client
        await register_search_attributes(client)
        sandbox = SandboxedWorkflowRunner()
        workers = (
            payments_worker(client, database, gateways, sandbox, (faults,)),
            settlement_worker(client, database, sandbox, (faults,)),
        )
        async with running(*workers):
            yield Skipping(environment, Dunning(billing, client, faults))


@dataclass(frozen=True)
class Connections:
    """Connects gateways that no other test uses, so that no breaker is shared."""

    gateways: dict[str, PaymentGateway]
    simulator_url: str

    def add(self, url: str | None = None, **profile: float) -> tuple[str, Line]:
        """A guarded gateway at this address, the simulator without one: its name and its line."""
        name = f"pg-{uuid4().hex}"
        patient = {"read_timeout_seconds": 0.5, "breaker_minimum_calls": 10_000, **profile}
        made = GatewayProfile(name, url or self.simulator_url, **patient)  # type: ignore[arg-type]
        line = Line(HttpGateway(made))
        self.gateways[name] = GuardedGateway(line, made)
        return name, line


@pytest.fixture
def connections(
    gateways: Mapping[str, PaymentGateway], settings: Settings, payments: None
) -> Connections:
    """Gateways added here are known to the worker of this process at once."""
    assert isinstance(gateways, dict)
    return Connections(gateways, settings.gateway_url)
