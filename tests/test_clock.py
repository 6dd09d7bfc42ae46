"""Every decision about money and months goes by one clock, the database's."""

import ast
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.coupon import CouponActivities
from activities.settlement import SettlementActivities
from api.app import create_app
from domain.errors import CouponNotApplicable
from domain.period import Period
from domain.settlement import SettlementRequest, SettlementStatus
from domain.usage import LATE
from runtime.settings import Settings
from service.group_commit import GroupCommit
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.cashier import Cashier
from tests.support.clocks import moved
from tests.support.faults import FaultInjector
from tests.support.samples import new_id

ROOT = Path(__file__).parents[1]
PRODUCT = (
    *("activities", "api", "auth", "cli", "gateway", "runtime", "service", "store", "workflows"),
)
SHOWN_ONLY = {
    "auth/grants.py": "how long a session can be refreshed yet",
    "auth/signing.py": "from when to when a token is good, which its readers tell by theirs",
    "cli/gateway.py": "how long it has been so, and until it is tried again",
    "cli/key.py": "how long it is believed; until when one is wished for the API says itself",
    "cli/watching.py": "when what is watched was looked at",
    "cli/payment.py": "what is left of a timer of Temporal's",
    "cli/tokens.py": "when a token of this machine should be renewed; the API decides",
    "runtime/consumer.py": "how old a message is, for a metric",
    "runtime/doctor.py": "whether the clocks of the servers are this machine's",
    "service/settlement.py": "how long a run has taken so far",
}
"""Who may ask the machine: nothing is decided by it."""

YEAR = timedelta(days=365)


def asks_the_machine(path: Path) -> bool:
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    clocks = ("datetime.now", "datetime.utcnow", "date.today", "time.time", "time.time_ns")
    return any(ast.unparse(call.func).endswith(clocks) for call in calls)


def test_nobody_asks_the_machine_what_time_it_is() -> None:
    found = {
        str(path.relative_to(ROOT))
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        if asks_the_machine(path)
    }
    assert found == set(SHOWN_ONLY)


@asynccontextmanager
async def in_a_year(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """The API over a database that is a year ahead of this machine."""
    app = create_app(settings)
    async with served(app) as http, moved(settings, YEAR) as later:
        ours, reading = app.state.context, app.state.reading
        desk = replace(ours.desk, database=later)
        app.state.context = replace(ours, desk=desk, usage=GroupCommit(later, LATE))
        app.state.reading = app.state.context
        try:
            yield http
        finally:
            app.state.context, app.state.reading = ours, reading


@pytest.fixture
async def later(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with in_a_year(settings) as http:
        yield http


def from_now(by: timedelta) -> str:
    return (datetime.now(UTC) + by).isoformat()


async def test_a_coupon_is_valid_by_it(
    billing: Billing,
    temporal_client: Client,
    faults: FaultInjector,
    settings: Settings,
    later: httpx2.AsyncClient,
) -> None:
    """Named in an order, and used by the payment."""
    cashier = Cashier(billing, temporal_client, faults)
    next_year = {"validFrom": from_now(YEAR / 2), "validUntil": from_now(2 * YEAR)}
    code = await billing.put_coupon(**next_year)
    order = {
        "currency": "KRW",
        "customerId": billing.customer_id,
        "items": [{"sku": "anything", "quantity": 1, "unitPrice": 2000}],
        "couponCode": code,
    }
    answers = [
        await http.post("/api/v1/orders", json=order, headers={"Idempotency-Key": new_id()})
        for http in (billing.api, later)
    ]
    assert [answer.status_code for answer in answers] == [422, 201], answers[1].text

    request = replace(
        await cashier.prepare(0, 1500, order_id=answers[1].json()["id"]),
        coupon_code=code,
        discount=500,
    )
    with pytest.raises(CouponNotApplicable):
        await ActivityEnvironment().run(CouponActivities(cashier.billing.database).use, request)
    async with moved(settings, YEAR) as database:
        await ActivityEnvironment().run(CouponActivities(database).use, request)
        await ActivityEnvironment().run(CouponActivities(database).restore, request)
    assert (await cashier.pay(request)).status == "FAILED"


async def test_usage_is_early_or_late_by_it(billing: Billing, later: httpx2.AsyncClient) -> None:
    def used(by: timedelta) -> dict[str, str]:
        return {
            "eventId": new_id(),
            "customerId": billing.customer_id,
            "resourceType": "API_CALL",
            "quantity": "1",
            "occurredAt": from_now(by),
        }

    statuses = [
        (await http.post("/api/v1/usage", json=used(by))).status_code
        for http in (billing.api, later)
        for by in (YEAR - timedelta(days=1), timedelta(days=-60))
    ]
    assert statuses == [422, 202, 202, 422]
    batch = {"events": [used(YEAR - timedelta(days=1)), used(timedelta(days=-60))]}
    told = (await later.post("/api/v1/usage/batch", json=batch)).json()["outcomes"]
    assert [each["status"] for each in told] == ["ACCEPTED", "REFUSED"]


async def test_a_month_is_over_by_it(
    billing: Billing, settings: Settings, later: httpx2.AsyncClient
) -> None:
    period = str(Period.containing(datetime.now(UTC), "UTC"))
    run = f"/api/v1/settlement/run?customerId={billing.customer_id}&period={period}"
    assert (await billing.api.post(run)).status_code == 409

    wanted = SettlementRequest(billing.customer_id, period)
    async with moved(settings, YEAR) as database:
        made = await ActivityEnvironment().run(SettlementActivities(database).draft, wanted)
    now = await ActivityEnvironment().run(SettlementActivities(billing.database).draft, wanted)
    assert (now.status, made.status) == (SettlementStatus.NOT_OVER, SettlementStatus.SKIPPED)


async def test_prices_and_plans_begin_by_it(billing: Billing, later: httpx2.AsyncClient) -> None:
    """Without a date they hold from now on: a year later in that database."""
    code = f"P-{new_id()}"
    charge = {"resourceType": "API_CALL", "model": "PER_UNIT", "unitPrice": "1"}
    prices = {"currency": "KRW", "charges": [charge]}

    made = (await later.put(f"/api/v1/pricing-plans/{code}", json=prices)).json()
    assert made["effectiveFrom"] > from_now(YEAR - timedelta(days=1))
    path = f"/api/v1/customers/{billing.customer_id}"
    assigned = await later.put(path, json={"planCode": code})

    assert assigned.json()["planCode"] == code
    assert (await billing.get(path))["planCode"] != code
