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
from runtime.starts import start_payment, start_refund
from store import payment, refund
from store import payment as payments
from store import refund as refunds
from tests.api.documents import closed_port
from tests.billing import Billing
from tests.conditions import eventually
from tests.conftest import served

_STEP = timedelta(seconds=0.5)
SHORT = Waits(
    resend_window=timedelta(seconds=1.5),
    ladder=(_STEP,),
    not_found_after=timedelta(minutes=10),
    key_window=timedelta(0),
)
"""Long enough for the first call to be made on a busy machine; and the ladder has one step, so that
what the PG does not tell at once goes to review."""


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
    """The PG does not answer the charge, and when the ladder is over it knows nothing of it."""
    await billing.add_card("4000000000017006")
    body = {"orderId": await billing.order(2000), "method": "CARD"}
    answer = await accepted(billing, settings, "/api/v1/payments", body)
    payment_id = str(answer.json()["id"])
    async with billing.database.connect() as tx:
        row = await payment.find(tx, payment_id)
    assert row is not None
    await start_payment(client, payments.request(row, SHORT))
    await _reviewed(billing, f"/api/v1/payments/{payment_id}")
    return payment_id


async def refund_in_review(billing: Billing, settings: Settings, client: Client) -> str:
    """The PG does not answer the refund, and no inquiry either."""
    paid = await billing.pay(await billing.order(2000))
    for operation in ("refund", "inquire"):
        queued = await billing.simulator.post(
            "/control/behaviours",
            json={
                "operation": operation,
                "behaviour": "error-before-effect",
                "times": 100,
                "orderId": paid["id"],
            },
        )
        assert queued.status_code == 201, queued.text
    body = {"paymentId": paid["id"], "reason": "goods came back"}
    answer = await accepted(billing, settings, "/api/v1/refunds", body)
    refund_id = str(answer.json()["id"])
    async with billing.database.connect() as tx:
        row = await refund.find(tx, refund_id)
    assert row is not None
    await start_refund(client, refunds.request(row, SHORT))
    await _reviewed(billing, f"/api/v1/refunds/{refund_id}")
    return refund_id


async def _reviewed(billing: Billing, path: str) -> None:
    async def waits_for_a_person() -> bool:
        return bool((await billing.get(path))["status"] == "NEEDS_REVIEW")

    await eventually(waits_for_a_person)
