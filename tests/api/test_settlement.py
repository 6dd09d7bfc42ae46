"""A customer's month over HTTP: usage in, invoice out, paid."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from uuid import uuid4

import pytest
from temporalio.client import Client

from api.app import create_app
from domain.workflow_id import settlement_workflow_id
from gateway.client import PaymentGateway
from runtime.settings import Settings
from tests.api.documents import closed_port, problem_of, refused
from tests.api.settling import (
    NO_MONEY,
    PERIOD,
    invoiced,
    plan,
    price,
    settle,
    use,
    waiting_draft,
    world_of_its_own,
)
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.databases import locked, somebody_waits
from tests.support.faults import Fault, FaultInjector
from tests.support.namespaces import a_namespace


async def test_a_month_is_billed_and_paid(billing: Billing, settlements: None) -> None:
    """Five times 3,000 calls, of which 10,000 are free."""
    await plan(billing)
    for number in range(1, 6):
        event = {
            "eventId": f"evt-{number:03}",
            "customerId": billing.customer_id,
            "resourceType": "API_CALL",
            "quantity": 3000,
            "occurredAt": f"{PERIOD}-0{number}T09:30:00+09:00",
        }
        counted = await billing.api.post("/api/v1/usage", json=event)
        assert (counted.status_code, counted.json()["status"]) == (202, "ACCEPTED")

    code, settled = await settle(billing)

    invoice = settled["invoice"]
    assert (code, settled["status"]) == (201, "SETTLED")
    assert (invoice["total"], invoice["currency"], invoice["status"]) == (5000, "KRW", "PAID")
    [line] = invoice["lines"]
    assert (line["quantity"], line["amount"], line["period"]) == ("15000", 5000, PERIOD)
    [payment_id] = invoice["paymentIds"]
    assert (await billing.book(payment_id))["totals"]["KRW"]["captured"] == 5000
    listed = await billing.get(f"/api/v1/invoices?customerId={billing.customer_id}")
    assert listed["items"] == [invoice]


async def test_settling_again_gives_the_same_invoice(billing: Billing, settlements: None) -> None:
    first = await invoiced(billing, 12_000)

    code, again = await settle(billing)

    assert (code, again) == (200, {"status": "SETTLED", "invoice": first})


async def test_a_month_without_usage_or_fee_makes_no_invoice(
    billing: Billing, settlements: None
) -> None:
    await plan(billing)

    assert await settle(billing) == (200, {"status": "SKIPPED", "invoice": None})


async def test_usage_that_comes_after_a_skipped_month_is_billed(
    billing: Billing, settlements: None
) -> None:
    """What the row says of the earlier settlement is no answer about this one."""
    await plan(billing)
    assert (await settle(billing))[1]["status"] == "SKIPPED"
    await use(billing, 10_001)

    code, settled = await settle(billing)

    assert (code, settled["status"]) == (201, "SETTLED")
    assert settled["invoice"]["total"] == 1


async def test_of_twenty_who_settle_at_once_everybody_sees_the_number(
    billing: Billing, settlements: None
) -> None:
    await plan(billing)
    await use(billing, 10_001)

    answers = await asyncio.gather(*(settle(billing) for _ in range(20)))

    for _, settled in answers:
        assert settled["status"] in ("SETTLED", "RUNNING"), settled
        if settled["status"] == "SETTLED":
            assert settled["invoice"]["number"] is not None


async def test_what_is_answered_is_read_after_the_settlement_has_ended(
    billing: Billing,
    settlements: None,
    settings: Settings,
    faults: FaultInjector,
    temporal_client: Client,
) -> None:
    """However long the reading takes: here it stops before its last statement, and in the middle of
    it the invoice is issued."""
    await plan(billing)
    await use(billing, 10_001)
    workflow_id = settlement_workflow_id(billing.customer_id, PERIOD)
    parked = faults.plan(workflow_id, "settlement.issue", Fault.PARK_BEFORE)
    asked = asyncio.create_task(settle(billing))
    await parked.reached.wait()

    async with locked(settings.database_owner_url, "payments") as tx:
        await somebody_waits(tx, "payments")
        parked.release.set()
        await temporal_client.get_workflow_handle(workflow_id).result()
    code, settled = await asked

    assert (code, settled["status"]) == (201, "SETTLED")
    assert settled["invoice"]["number"] is not None


async def test_a_month_of_free_usage_makes_no_invoice_however_often_it_is_settled(
    billing: Billing, settlements: None
) -> None:
    await plan(billing)
    await use(billing, 10_000)

    answers = [await settle(billing) for _ in range(2)]

    assert answers == [(200, {"status": "SKIPPED", "invoice": None})] * 2


async def test_a_cancelled_month_is_settled_again(billing: Billing, settlements: None) -> None:
    await billing.add_card(NO_MONEY)
    first = await invoiced(billing, 12_000)
    cancelled = await billing.post(
        f"/api/v1/invoices/{first['id']}/cancel", {"reason": "a wrong price"}
    )
    assert cancelled.json()["status"] == "CANCELLED"

    code, settled = await settle(billing)

    assert (code, settled["status"]) == (201, "SETTLED")
    listed = await billing.get(f"/api/v1/invoices?customerId={billing.customer_id}")
    [again, before] = listed["items"]
    assert (again["id"], before["id"]) == (settled["invoice"]["id"], first["id"])
    assert (again["total"], before["status"]) == (before["total"], "CANCELLED")
    assert again["number"] > before["number"]


async def test_a_month_that_is_not_over_is_refused(billing: Billing, settlements: None) -> None:
    await plan(billing)

    code, problem = await settle(billing, "2099-01")

    assert code == 409
    assert problem["type"].endswith("/period-open")


async def test_somebody_who_is_not_there_has_no_month(billing: Billing) -> None:
    path = f"/api/v1/settlement/run?customerId=c-{uuid4().hex}&period={PERIOD}"

    refused(await billing.api.post(path), 404, "not-found")


async def test_without_a_price_list_only_a_month_without_usage_can_be_settled(
    billing: Billing, settlements: None
) -> None:
    assert await settle(billing) == (200, {"status": "SKIPPED", "invoice": None})
    await use(billing, 1)

    code, problem = await settle(billing)

    assert (code, problem["type"].rsplit("/", 1)[1]) == (422, "settlement-failed")
    assert "no plan" in problem["detail"]


async def test_usage_without_a_price_stops_the_invoice_until_there_is_one(
    billing: Billing, settlements: None
) -> None:
    code_of_plan = await plan(billing, charges=[])
    await use(billing, 10_007)

    for _ in range(2):
        code, problem = await settle(billing)
        assert (code, problem["type"].rsplit("/", 1)[1]) == (422, "settlement-failed")
        assert "API_CALL" in problem["detail"]
    await price(billing, code_of_plan)
    code, settled = await settle(billing)

    assert (code, settled["invoice"]["total"]) == (201, 7)


async def test_a_large_draft_waits_for_a_person(billing: Billing, settlements: None) -> None:
    draft = await waiting_draft(billing)

    assert await settle(billing) == (202, {"status": "AWAITING_APPROVAL", "invoice": draft})
    assert (draft["number"], draft["paymentIds"]) == (None, [])
    assert "10,000,001 KRW" in draft["reason"]


async def test_a_rejected_draft_makes_room_for_another(billing: Billing, settlements: None) -> None:
    draft = await waiting_draft(billing)
    body = {"reason": "too much"}
    rejected = await billing.post(f"/api/v1/invoices/{draft['id']}/reject", body)
    assert (rejected.status_code, rejected.json()["status"]) == (200, "REJECTED")

    code, settled = await settle(billing)

    assert (code, settled["status"]) == (202, "AWAITING_APPROVAL")
    assert settled["invoice"]["id"] != draft["id"]
    assert settled["invoice"]["total"] == draft["total"]


async def test_without_a_worker_the_settlement_is_accepted(
    billing: Billing, settings: Settings
) -> None:
    await plan(billing)
    idle = {"temporal_namespace": a_namespace("idle"), "api_wait_seconds": 1}
    async with served(create_app(settings.model_copy(update=idle))) as http:
        there = replace(billing, api=http)

        async def known() -> bool:
            return (await settle(there))[0] == 202

        await eventually(known)
        assert await settle(there) == (202, {"status": "RUNNING", "invoice": None})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/settlement/run?customerId={}&period=2026-05", None),
        ("/api/v1/settlement/runs", {"period": "2003-01"}),
    ],
)
async def test_without_temporal_nothing_is_accepted(
    billing: Billing, settings: Settings, path: str, body: Mapping[str, str] | None
) -> None:
    """Nothing stands in a row yet, so nobody would make up for it later."""
    away = {"api_wait_seconds": 0.2, "temporal_address": f"127.0.0.1:{closed_port()}"}
    async with served(create_app(settings.model_copy(update=away))) as http:
        answer = await http.post(path.format(billing.customer_id), json=body)

    refused(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "5"


async def test_a_terminated_settlement_is_not_taken_for_an_answer(
    billing: Billing, settlements: None, temporal_client: Client
) -> None:
    """Terminate while a person is asked: the draft stays, and the next call gives it its owner."""
    draft = await waiting_draft(billing)
    owner = settlement_workflow_id(billing.customer_id, PERIOD)
    await temporal_client.get_workflow_handle(owner).terminate()

    approved = await billing.post(f"/api/v1/invoices/{draft['id']}/approve", {"reason": "fine"})

    assert approved.status_code == 200, approved.text
    assert approved.json()["number"] is not None


async def test_a_run_settles_everybody_and_replays_what_failed(
    billing: Billing, settings: Settings, gateways: Mapping[str, PaymentGateway]
) -> None:
    """Four customers: one pays, one used nothing, one waits for a person, one has no price."""
    async with world_of_its_own(billing, settings, gateways["simulator"]) as first:
        codes = [await plan(first)]
        everybody = [first]
        for _ in range(3):
            one = await Billing.for_new_customer(first.api, first.simulator, first.database)
            codes.append(await plan(one))
            everybody.append(one)
        _, _, waits, unpriced = everybody
        await use(first, 15_000)
        await use(waits, 10_010_001)
        await use(unpriced, 5, resource_type="POISON")
        refused(await first.api.get("/api/v1/settlement/runs/2026-05"), 404, "not-found")

        started = await first.api.post("/api/v1/settlement/runs", json={"period": PERIOD})
        assert (started.status_code, started.headers["Location"]) == (
            202,
            f"/api/v1/settlement/runs/{PERIOD}",
        )
        assert (await first.get(started.headers["Location"]))["customers"] == 4

        async def ended() -> bool:
            return bool((await first.get(started.headers["Location"]))["finishedAt"])

        await eventually(ended)
        report = await first.get(started.headers["Location"])
        counts = {name: report[name] for name in ("settled", "skipped", "awaitingApproval")}
        assert counts == {"settled": 1, "skipped": 1, "awaitingApproval": 1}
        assert (report["failed"], report["totals"]) == (1, {"KRW": 5000})
        assert report["seconds"] > 0
        [failure] = report["failures"]
        assert failure["customerId"] == unpriced.customer_id
        assert "POISON" in failure["reason"]

        await price(first, codes[3], "POISON")
        for _ in range(2):
            replayed = await first.api.post(f"{started.headers['Location']}/replay")
            assert replayed.status_code == 202, replayed.text

        async def none_failed() -> bool:
            return not (await first.get(started.headers["Location"]))["failures"]

        await eventually(none_failed)
        report = await first.get(started.headers["Location"])
        assert (report["settled"], report["totals"]) == (2, {"KRW": 5005})
        invoices = await first.get("/api/v1/invoices")
        assert len({each["customerId"] for each in invoices["items"]}) == len(invoices["items"])


async def test_a_run_for_a_month_that_is_not_over_is_refused(billing: Billing) -> None:
    run = await billing.api.post("/api/v1/settlement/runs", json={"period": "2099-01"})
    replay = await billing.api.post("/api/v1/settlement/runs/2099-01/replay")

    assert (run.status_code, problem_of(run)) == (409, "period-open")
    assert (replay.status_code, problem_of(replay)) == (409, "period-open")
