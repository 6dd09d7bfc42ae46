"""What tests do over HTTP to get a customer's month billed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from api.app import create_app
from gateway.client import PaymentGateway
from runtime import schema, temporal
from runtime.settings import Settings
from runtime.workers import payments_worker, running, settlement_worker
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.databases import connected, database_of_its_own, named
from tests.support.namespaces import a_namespace
from tests.support.persons import put

PERIOD = "2026-05"
NO_MONEY = "4000000000009995"
"""A card that is declined, and may be charged again."""


async def plan(billing: Billing, **more: Any) -> str:
    """A price list whose `API_CALL` has 10,000 free units, then ₩1 each; the customer's own."""
    code = f"P-{uuid4().hex}"
    await price(billing, code, **more)
    customer = {"planCode": code, "planFrom": "2020-01-01T00:00:00Z"}
    answer = await put(billing.api, f"/api/v1/customers/{billing.customer_id}", customer)
    assert answer.status_code == 200, answer.text
    return code


async def price(billing: Billing, code: str, *also: str, **more: Any) -> None:
    """A version of the price list; `also` are resource types for ₩1 each. Where somebody has it, a
    second person agrees."""
    call = {"resourceType": "API_CALL", "model": "PER_UNIT", "unitPrice": "1"}
    charges = [{**call, "freeUnits": "10000"}, *({**call, "resourceType": each} for each in also)]
    since = {"currency": "KRW", "effectiveFrom": "2020-01-01T00:00:00Z"}
    body = {**since, "charges": charges, **more}
    answer = await put(billing.api, f"/api/v1/pricing-plans/{code}", body)
    assert answer.status_code == 201, answer.text


async def use(
    billing: Billing,
    quantity: int,
    at: str = f"{PERIOD}-10T00:00:00Z",
    resource_type: str = "API_CALL",
) -> str:
    """Report usage; returns the event's id."""
    event_id = uuid4().hex
    event = {
        "eventId": event_id,
        "customerId": billing.customer_id,
        "resourceType": resource_type,
        "quantity": quantity,
        "occurredAt": at,
    }
    answer = await billing.api.post("/api/v1/usage", json=event)
    assert answer.status_code == 202, answer.text
    return event_id


async def settle(billing: Billing, period: str = PERIOD) -> tuple[int, dict[str, Any]]:
    """Settle the month; returns status code and answer."""
    path = f"/api/v1/settlement/run?customerId={billing.customer_id}&period={period}"
    answer = await billing.api.post(path)
    return answer.status_code, answer.json()


async def invoiced(billing: Billing, quantity: int = 15_000) -> dict[str, Any]:
    """The invoice of a month with so much usage, as it was answered."""
    await plan(billing)
    await use(billing, quantity)
    code, settled = await settle(billing)
    assert code == 201, settled
    invoice: dict[str, Any] = settled["invoice"]
    return invoice


async def waiting_draft(billing: Billing) -> dict[str, Any]:
    """A draft that is too large to be issued without a person."""
    await plan(billing)
    await use(billing, 10_010_001)
    code, settled = await settle(billing)
    assert (code, settled["status"]) == (202, "AWAITING_APPROVAL"), settled
    invoice: dict[str, Any] = settled["invoice"]
    return invoice


@asynccontextmanager
async def world_of_its_own(
    billing: Billing, settings: Settings, gateway: PaymentGateway
) -> AsyncIterator[Billing]:
    """A database, a namespace, workers and an API that no other test uses: for what concerns
    everybody at once."""
    name = f"world_{uuid4().hex}"
    owner_url = named(settings.database_owner_url, name)
    own = settings.model_copy(
        update={
            "database_url": named(settings.database_url, name),
            "temporal_namespace": a_namespace("world"),
        }
    )
    client = await temporal.connect_when_ready(own)
    runner = SandboxedWorkflowRunner()
    async with database_of_its_own(settings.database_owner_url, name):
        await asyncio.to_thread(schema.upgrade, owner_url)
        async with (
            connected(own.database_url, pool_size=10) as pool,
            running(payments_worker(client, pool, {"simulator": gateway}, runner)),
            running(settlement_worker(client, pool, runner)),
            served(create_app(own)) as http,
        ):
            yield await Billing.for_new_customer(http, billing.simulator, pool)


def another(billing: Billing) -> Billing:
    """Somebody else in the same world, not yet known there."""
    return replace(billing, customer_id=f"c-{uuid4().hex}")
