"""A cashier, invoices, a Temporal whose days are short, and gateways of a test's own."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client

from gateway.client import GatewayProfile, PaymentGateway
from gateway.guard import GuardedGateway
from gateway.http import HttpGateway
from runtime.settings import Settings
from tests.support.billing import Billing
from tests.support.cashier import Cashier
from tests.support.dunning import Dunning
from tests.support.fakes import Line
from tests.support.faults import FaultInjector
from tests.support.months import Months

LONG, SHORT = 30.0, 0.5
"""Seconds that a gateway may take for an answer, and that are waited in vain for none."""

UNANSWERED = frozenset({"hold-answer", "late-capture"})
"""What the simulator does while it keeps its caller waiting: only these need a short time-out. Any
other call would time out by itself on a busy machine, which is another story."""


Chosen = Callable[[Iterable[Any]], list[Any]]
"""The rows of a table that are wanted: all, unless `--row` names some."""


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> Chosen:
    wanted = request.config.getoption("--row")

    def choose(rows: Iterable[Any]) -> list[Any]:
        found = [row for row in rows if wanted in str(row)]
        if not found:
            pytest.skip(f"no row is called {wanted!r}")
        return found

    return choose


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
class Connections:
    """Connects gateways that no other test uses, so that no breaker is shared."""

    gateways: dict[str, PaymentGateway]
    simulator_url: str

    def add(self, url: str | None = None, **profile: float) -> tuple[str, Line]:
        """A guarded gateway at this address, the simulator without one: its name and its line."""
        name = f"pg-{uuid4().hex}"
        patient = {"read_timeout_seconds": LONG, "breaker_minimum_calls": 10_000, **profile}
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
