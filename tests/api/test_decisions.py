"""Several decide about one thing at once: one is heard, and everybody is told the truth."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx2
from sqlalchemy import update
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from api.app import create_app
from domain.access import SYSTEM
from runtime.settings import Settings
from store.tables import idempotency_keys
from tests.api.documents import problem_of, refused
from tests.api.settling import NO_MONEY, invoiced, waiting_draft
from tests.conftest import served
from tests.support.billing import GOOD_CARD, Billing
from tests.support.conditions import eventually
from tests.support.faults import Fault, FaultInjector
from tests.support.unfinished import payment_in_review, refund_in_review

ROUNDS = 5
LATE = {"already-decided", "already-final", "not-in-review"}
CLOSED = {"write-off": "WRITTEN_OFF", "cancel": "CANCELLED", "paid-outside": "PAID"}


def heard(answers: Sequence[httpx2.Response]) -> list[httpx2.Response]:
    """The answers to those who decided; the others were told that somebody else did."""
    for answer in answers:
        told = answer.status_code == 200 or (
            answer.status_code == 409 and problem_of(answer) in LATE
        )
        assert told, answer.text
    return [answer for answer in answers if answer.status_code == 200]


async def another(billing: Billing) -> Billing:
    return await Billing.for_new_customer(billing.api, billing.simulator, billing.database)


async def declined(billing: Billing) -> dict[str, Any]:
    await billing.add_card(NO_MONEY)
    return await invoiced(billing)


async def test_of_six_who_say_captured_and_six_who_say_failed_one_is_heard(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    async def once() -> None:
        payment_id = await payment_in_review(await another(billing), settings, temporal_client)
        path = f"/api/v1/payments/{payment_id}/resolve"
        said = [{"outcome": each, "reason": "I know it"} for each in ("captured", "failed")] * 6

        answers = await asyncio.gather(*(billing.post(path, each) for each in said))

        final = await billing.get(f"/api/v1/payments/{payment_id}")
        [decided] = heard(answers)
        assert decided.json() == final
        what = {"COMPLETED": "captured", "FAILED": "failed"}[final["status"]]
        others = [answer for answer in answers if answer is not decided]
        assert {problem_of(answer) for answer in others} == {"already-decided"}
        assert all(what in answer.json()["detail"] for answer in others)

    for _ in range(ROUNDS):
        await once()


async def test_a_decision_that_meets_a_cancellation_is_answered(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    """A workflow task that lost against a cancellation is no outage."""

    async def later(place: int, path: str, body: dict[str, str]) -> httpx2.Response:
        for _ in range(place):
            await asyncio.sleep(0)
        return await billing.post(path, body)

    async def once() -> None:
        payment_id = await payment_in_review(await another(billing), settings, temporal_client)
        path = f"/api/v1/payments/{payment_id}"
        said = [{"outcome": each, "reason": "I know it"} for each in ("captured", "failed")] * 3

        answers = await asyncio.gather(
            *(later(place, f"{path}/resolve", each) for place, each in enumerate(said)),
            *(later(place, f"{path}/cancel", {}) for place in range(6)),
        )

        final = await billing.get(path)
        assert all(each.json() == final for each in heard(answers))
        assert len(heard(answers[:6])) <= 1

    for _ in range(ROUNDS):
        await once()


async def test_of_those_who_approve_and_those_who_reject_one_is_heard(
    billing: Billing, settlements: None
) -> None:
    async def once() -> None:
        draft = await waiting_draft(whose := await another(billing))
        path = f"/api/v1/invoices/{draft['id']}"

        answers = await asyncio.gather(
            *(whose.post(f"{path}/{each}", {"reason": each}) for each in ["approve", "reject"] * 4)
        )

        [decided] = heard(answers)
        rejected = decided.request.url.path.endswith("/reject")
        assert (decided.json()["status"] == "REJECTED") is rejected
        [decision] = decided.json()["decisions"]
        assert decision["reason"] == ("reject" if rejected else "approve")

    for _ in range(ROUNDS):
        await once()


async def test_of_those_who_close_an_invoice_one_is_heard(
    billing: Billing, settlements: None
) -> None:
    async def once() -> None:
        owed = await declined(whose := await another(billing))
        path = f"/api/v1/invoices/{owed['id']}"

        answers = await asyncio.gather(
            *(whose.post(f"{path}/{each}", {"reason": each}) for each in [*CLOSED] * 3)
        )

        [decided] = heard(answers)
        how = decided.request.url.path.rpartition("/")[2]
        assert decided.json()["status"] == CLOSED[how]
        assert decided.json()["decisions"][-1]["reason"] == how

    for _ in range(ROUNDS):
        await once()


async def test_whoever_closes_while_a_charge_takes_the_money_is_told_that_it_is_paid(
    billing: Billing, settings: Settings, settlements: None, faults: FaultInjector
) -> None:
    """The charge that is under way ends first: what it has paid is not written off."""
    brief = settings.model_copy(update={"api_wait_seconds": 0.5})
    owed = await declined(billing)
    await billing.add_card(GOOD_CARD)
    path, key = f"/api/v1/invoices/{owed['id']}", uuid4().hex
    parked = faults.plan(f"invoice/{owed['id']}", "invoice.open_payment", Fault.PARK_AFTER)
    paying = asyncio.create_task(billing.post(f"{path}/pay", {}))
    await parked.reached.wait()
    async with served(create_app(brief)) as http:
        waits_less = replace(billing, api=http)
        early = await waits_less.post(f"{path}/write-off", {"reason": "too small"}, key)
    assert early.status_code == 202, early.text

    parked.release.set()
    await paying
    await eventually(lambda: is_status(billing, path, "PAID"))
    told = await billing.post(f"{path}/write-off", {"reason": "too small"}, key)

    refused(told, 409, "already-decided")
    assert "PAID" in told.json()["detail"]


async def is_status(billing: Billing, path: str, status: str) -> bool:
    return bool((await billing.get(path))["status"] == status)


async def forgotten(client: Client, workflow_id: str) -> None:
    """Delete the history, as Temporal does by itself when it is old, and see it gone."""
    execution = WorkflowExecution(workflow_id=workflow_id)
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=execution
    )
    await client.workflow_service.delete_workflow_execution(request)

    async def gone() -> bool:
        try:
            await client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND
        return False

    await eventually(gone)


async def test_whoever_decided_is_known_when_the_answer_and_the_history_are_gone(
    billing: Billing, settlements: None, temporal_client: Client
) -> None:
    """The row keeps it: neither the stored answer nor Temporal is needed for a repeat."""
    owed = await declined(billing)
    path, key = f"/api/v1/invoices/{owed['id']}/write-off", uuid4().hex
    body = {"reason": "bankrupt"}
    first = await billing.post(path, body, key)
    async with billing.database.begin(SYSTEM) as tx:
        whose = update(idempotency_keys).where(idempotency_keys.c.resource_id == owed["id"])
        await tx.execute(whose.values(response_status=None, response_body=None))
    await forgotten(temporal_client, f"invoice/{owed['id']}")

    mine = await billing.post(path, body, key)
    other = await billing.post(path, body)

    assert (first.status_code, mine.status_code) == (200, 200), mine.text
    assert mine.json() == first.json()
    refused(other, 409, "already-final")


async def test_of_those_who_disagree_about_a_refund_at_most_one_is_heard(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    refund_id = await refund_in_review(billing, settings, temporal_client)
    path = f"/api/v1/refunds/{refund_id}/resolve"
    said = [{"outcome": each, "reason": "I know it"} for each in ("refunded", "failed")] * 4

    answers = await asyncio.gather(*(billing.post(path, each) for each in said))

    final = await billing.get(f"/api/v1/refunds/{refund_id}")
    assert len(heard(answers)) <= 1
    assert all(each.json() == final for each in heard(answers))
