"""Webhooks of the PG: believed only when signed, stored once, and then no more than a hint."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
from sqlalchemy import select
from standardwebhooks import Webhook
from temporalio.client import Client

from domain.waits import Waits
from domain.workflow_id import payment_workflow_id
from runtime.settings import Settings
from service.starts import start_payment, start_refund
from store import payment, refund
from store import payment as payments
from store import refund as refunds
from store.database import Database
from store.tables import gateway_webhooks
from tests.api.documents import problem_of, refused
from tests.conftest import SECRET
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.unfinished import accepted, without_temporal
from workflows.payment_saga import PaymentSaga

PATH = "/webhooks/gateway/simulator"
PATIENT = Waits(ladder=(timedelta(hours=1),))
"""After the first answer that tells nothing the workflow asks again in an hour, or on a hint."""


async def deliver(
    api: httpx2.AsyncClient,
    event: Mapping[str, Any],
    *,
    secret: str = SECRET,
    age: timedelta = timedelta(0),
    query: str = "",
) -> httpx2.Response:
    """As a PG sends it: signed with the `standardwebhooks` package."""
    body, at, message_id = json.dumps(event), datetime.now(UTC) - age, f"msg_{uuid4().hex}"
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body),
        "Content-Type": "application/json",
    }
    return await api.post(f"{PATH}{query}", content=body, headers=headers)


async def stored(database: Database, event_id: str) -> list[Any]:
    async with database.engine.connect() as tx:
        query = select(gateway_webhooks.c.body).where(gateway_webhooks.c.event_id == event_id)
        return list((await tx.execute(query)).scalars())


async def test_an_event_is_stored_once_however_often_it_comes(
    billing: Billing, database: Database
) -> None:
    event = {"id": f"evt_{uuid4().hex}", "type": "payment.captured", "orderId": str(uuid4())}

    for _ in range(3):
        answer = await deliver(billing.api, event)
        assert (answer.status_code, answer.content) == (204, b"")

    assert await stored(database, event["id"]) == [event]


async def test_an_event_about_nothing_of_ours_is_taken(
    billing: Billing, database: Database
) -> None:
    """The PG should not send it again for ever only because we do not know what it is about."""
    nearly = [f"{uuid4()}\n", f"\n{uuid4()}", f"{uuid4()}\u2028", str(uuid4())[:-1] + "\u0661"]
    abouts: list[dict[str, object]] = [{}, {"orderId": 1}, {"orderId": "x"}]
    abouts += [{name: each} for name in ("orderId", "refundId") for each in (*nearly, str(uuid4()))]
    for about in abouts:
        event = {"id": f"evt_{uuid4().hex}", **about}
        assert (await deliver(billing.api, event)).status_code == 204
        assert await stored(database, str(event["id"])) == [event]


async def test_a_bad_signature_is_refused(billing: Billing, database: Database) -> None:
    event = {"id": f"evt_{uuid4().hex}"}
    foreign = "whsec_c29tZWJvZHkgZWxzZSBhbmQgbm90IHRoZSBQRyBpdHNlbGY="

    unsigned = await billing.api.post(PATH, json=event)
    wrong = await deliver(billing.api, event, secret=foreign)

    refused(unsigned, 401, "signature-invalid")
    refused(wrong, 401, "signature-invalid")
    assert await stored(database, event["id"]) == []


async def test_a_recorded_event_cannot_be_played_again_later(
    billing: Billing, database: Database
) -> None:
    """A signature holds for five minutes around the time that it signs."""
    event = {"id": f"evt_{uuid4().hex}"}

    for age in (timedelta(minutes=6), timedelta(days=365), timedelta(minutes=-6)):
        refused(await deliver(billing.api, event, age=age), 401, "signature-invalid")
    assert await stored(database, event["id"]) == []

    assert (await deliver(billing.api, event, age=timedelta(minutes=4))).status_code == 204


async def test_an_unknown_gateway_is_not_found(billing: Billing) -> None:
    answer = await billing.api.post("/webhooks/gateway/nobody", json={"id": "evt"})

    assert (answer.status_code, problem_of(answer)) == (404, "not-found")


async def test_a_hint_wakes_the_payment(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    """The PG captured and its line broke; the next question would be due in an hour."""
    await billing.add_card("4000000000014003")
    body = {"orderId": await billing.order(1000), "method": "CARD"}
    pending = (await accepted(billing, settings, "/api/v1/payments", body)).json()
    async with billing.database.engine.connect() as tx:
        row = await payment.find(tx, pending["id"])
    assert row is not None
    await start_payment(temporal_client, payments.request(row, PATIENT))
    path = f"/api/v1/payments/{pending['id']}"
    await _reaches(billing, path, "UNKNOWN")

    hint = {"id": f"evt_{uuid4().hex}", "type": "payment.captured", "orderId": pending["id"]}
    assert (await deliver(billing.api, hint)).status_code == 204

    await _reaches(billing, path, "COMPLETED")
    assert (await billing.book(pending["id"]))["totals"]["KRW"]["captured"] == 1000


async def test_a_hint_wakes_the_refund(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    paid = await billing.pay(await billing.order(1000))
    lost = {"operation": "refund", "behaviour": "lose-answer", "orderId": paid["id"]}
    await billing.simulator.post("/control/behaviours", json=lost)
    body = {"paymentId": paid["id"], "reason": "broken"}
    pending = (await accepted(billing, settings, "/api/v1/refunds", body)).json()
    async with billing.database.engine.connect() as tx:
        row = await refund.find(tx, pending["id"])
    assert row is not None
    await start_refund(temporal_client, refunds.request(row, PATIENT))
    path = f"/api/v1/refunds/{pending['id']}"
    await _reaches(billing, path, "UNKNOWN")

    about = {"orderId": paid["id"], "refundId": pending["id"]}
    hint = {"id": f"evt_{uuid4().hex}", "type": "payment.refunded", **about}
    assert (await deliver(billing.api, hint)).status_code == 204

    await _reaches(billing, path, "COMPLETED")
    assert (await billing.book(paid["id"]))["totals"]["KRW"]["refunded"] == 1000


async def test_a_payment_whose_call_is_under_way_is_left_alone(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    """The PG's event comes a moment after its answer, and a signal would make Temporal do the step
    again that records it."""
    body = {"orderId": await billing.order(1000), "method": "CARD"}
    pending = (await accepted(billing, settings, "/api/v1/payments", body)).json()
    async with billing.database.engine.connect() as tx:
        row = await payment.find(tx, pending["id"])
    assert row is not None
    busy = await temporal_client.start_workflow(
        PaymentSaga.run,
        payments.request(row, PATIENT),
        id=payment_workflow_id(pending["id"]),
        task_queue=f"without-a-worker-{uuid4().hex}",
    )

    event = {"id": f"evt_{uuid4().hex}", "type": "payment.captured", "orderId": pending["id"]}
    assert (await deliver(billing.api, event)).status_code == 204

    signals = [
        each
        async for each in busy.fetch_history_events()
        if each.HasField("workflow_execution_signaled_event_attributes")
    ]
    assert signals == []
    await busy.terminate()
    again = await start_payment(temporal_client, payments.request(row, PATIENT))
    assert (await again.result()).status == "COMPLETED"


async def test_a_hint_is_taken_while_temporal_is_down(
    billing: Billing, settings: Settings, database: Database
) -> None:
    event = {"id": f"evt_{uuid4().hex}", "type": "payment.captured", "orderId": str(uuid4())}

    async with without_temporal(billing, settings) as cut_off:
        assert (await deliver(cut_off.api, event)).status_code == 204

    assert await stored(database, event["id"]) == [event]


async def _reaches(billing: Billing, path: str, status: str) -> None:
    async def reached() -> bool:
        return bool((await billing.get(path))["status"] == status)

    await eventually(reached)
