"""Payments and refunds that are not over: nobody started them, or only a person can end them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
from temporalio.client import Client

from api.app import create_app
from domain.waits import Waits
from runtime.settings import Settings
from service.starts import start_payment, start_refund
from store import payment, refund
from store import payment as payments
from store import refund as refunds
from tests.api.documents import closed_port
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.conditions import eventually

SENT = Waits(ladder=(timedelta(hours=1),))
"""Sends once; what the PG does not answer is next thought of in an hour."""

ONLY_ASKS = Waits(
    resend_window=timedelta(0), ladder=(timedelta(milliseconds=10),), key_window=timedelta(0)
)
"""For the run after that one: it may send nothing any more, and what the PG does not tell at once
goes to review. So no window has to be met, however busy the machine is."""


@asynccontextmanager
async def without_temporal(billing: Billing, settings: Settings) -> AsyncIterator[Billing]:
    """The same customer at an API that cannot reach Temporal: it accepts and starts nothing."""
    away = {"api_wait_seconds": 0.2, "temporal_address": f"127.0.0.1:{closed_port()}"}
    async with served(create_app(settings.model_copy(update=away))) as http:
        yield replace(billing, api=http)


async def accepted(
    billing: Billing, settings: Settings, path: str, body: dict[str, Any], key: str | None = None
) -> httpx2.Response:
    """The 202 of a request whose workflow nobody has started."""
    async with without_temporal(billing, settings) as cut_off:
        answer = await cut_off.post(path, body, key)
    assert answer.status_code == 202, answer.text
    return answer


async def payment_in_review(billing: Billing, settings: Settings, client: Client) -> str:
    """The PG does not answer the charge, and when it is asked it knows nothing of it: who then says
    that it was captured is wrong."""
    billing.leaves_residue()
    body = {"orderId": await billing.order(2000), "method": "CARD"}
    answer = await accepted(billing, settings, "/api/v1/payments", body)
    payment_id, location = str(answer.json()["id"]), answer.headers["Location"]
    await _fails(billing, payment_id, "charge")
    async with billing.database.engine.connect() as tx:
        row = await payment.find(tx, payment_id)
    assert row is not None
    sent = await start_payment(client, payments.request(row, SENT))
    await _reaches(billing, location, "UNKNOWN")
    await sent.terminate()
    await start_payment(client, payments.request(row, ONLY_ASKS))
    await _reaches(billing, location, "NEEDS_REVIEW")
    return payment_id


async def refund_in_review(billing: Billing, settings: Settings, client: Client) -> str:
    """The PG does not answer the refund, and no inquiry either: who then says that it was refunded
    is wrong."""
    billing.leaves_residue()
    paid = await billing.pay(await billing.order(2000))
    await _fails(billing, paid["id"], "refund")
    await _fails(billing, paid["id"], "inquire", times=100)
    body = {"paymentId": paid["id"], "reason": "goods came back"}
    answer = await accepted(billing, settings, "/api/v1/refunds", body)
    refund_id, location = str(answer.json()["id"]), answer.headers["Location"]
    async with billing.database.engine.connect() as tx:
        row = await refund.find(tx, refund_id)
    assert row is not None
    sent = await start_refund(client, refunds.request(row, SENT))
    await _reaches(billing, location, "UNKNOWN")
    await sent.terminate()
    await start_refund(client, refunds.request(row, ONLY_ASKS))
    await _reaches(billing, location, "NEEDS_REVIEW")
    return refund_id


async def _fails(billing: Billing, payment_id: str, operation: str, times: int = 1) -> None:
    """The PG breaks down over the next such calls, before it does anything."""
    fault = {"operation": operation, "behaviour": "error-before-effect", "times": times}
    queue = "/control/behaviours"
    queued = await billing.simulator.post(queue, json={**fault, "orderId": payment_id})
    assert queued.status_code == 201, queued.text


async def _reaches(billing: Billing, path: str, status: str) -> None:
    async def reached() -> bool:
        return bool((await billing.get(path))["status"] == status)

    await eventually(reached)
