"""A review ends with an answer to its own question; what waits for a person can be found."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from activities.payment import PaymentActivities
from activities.review import ReviewActivities
from domain.gateway import Operation
from domain.payment import Capture, Marking, PaymentRequest, PaymentStatus
from domain.refund import late_capture_refund_id
from domain.review import ClosedReview, Outcome, Question, Resolution, Wanted
from domain.workflow_id import refund_workflow_id
from store import review
from tests.runtime.test_sweeper import sweep
from tests.support.cashier import WAITS, Cashier, Handle
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import eventually
from tests.support.faults import Fault
from tests.workflows.conftest import Connections
from tests.workflows.test_pursuit import (
    BRISK,
    SPLIT,
    UNDECIDABLE,
    eventually_clean,
    in_review,
    shown,
    taken,
    until,
)
from workflows import search_attributes
from workflows.payment_saga import PaymentSaga
from workflows.refund_saga import RefundSaga

VOIDS_DECLINED = "4000000000020000"
REFUNDS_DECLINED = "4000000000019002"


async def waiting(cashier: Cashier, reference_id: str) -> str | None:
    """The question about this payment or refund that `billing review list` shows."""
    async with cashier.billing.database.engine.connect() as tx:
        page = await review.listed(tx, Wanted(open=True), None, 10_000)
    rows = [row.review for row in page.items]
    found = [row for row in rows if row.reference_id == reference_id]
    return found[0].question if found else None


async def asked(cashier: Cashier, reference_id: str, question: str) -> None:
    """Wait until a person is asked."""

    async def waits() -> bool:
        return await waiting(cashier, reference_id) == question

    await eventually(waits)


async def resolve(cashier: Cashier, request: PaymentRequest, outcome: str) -> Any:
    """As an operator does over HTTP."""
    path = f"/api/v1/payments/{request.payment_id}/resolve"
    return await cashier.billing.post(path, {"outcome": outcome, "reason": "seen at the PG"})


async def hinted(cashier: Cashier, handle: Any, line: Any) -> None:
    """Send a hint, and wait until the PG was asked because of it."""
    before = len(line.inquired)
    await handle.signal("gateway_hint")

    async def inquired() -> bool:
        return len(line.inquired) > before

    await eventually(inquired)


async def captured_by_hand(cashier: Cashier, request: PaymentRequest) -> None:
    """Somebody captures the authorization in the console of the PG."""
    answer = await cashier.billing.simulator.post(
        f"/v1/payments/{request.payment_id}/capture",
        json={"amount": request.card_amount, "currency": request.currency},
        headers={"Idempotency-Key": uuid4().hex},
    )
    assert answer.status_code == 200, answer.text


async def void_in_review(
    cashier: Cashier, connections: Connections
) -> tuple[PaymentRequest, Handle, Any]:
    """An authorized payment whose capture was declined, and then the void of it."""
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    # Both calls are answered: however long it takes to come to them, they are to be sent.
    waits = replace(BRISK, resend_window=WAITS.resend_window)
    request = await cashier.prepare(
        *SPLIT, number=VOIDS_DECLINED, gateway=name, two_calls=True, waits=waits
    )
    await cashier.misbehave(request, "decline", operation="capture")
    handle = await cashier.start(request)
    await asked(cashier, request.payment_id, "void")
    return request, handle, line


async def captured_while_its_void_is_tried(
    cashier: Cashier, request: PaymentRequest, line: Any
) -> Handle:
    """Neither capture nor void get through, until somebody captures by hand."""
    for operation in ("capture", "void"):
        await cashier.misbehave(request, "error-before-effect", operation=operation, times=1000)
    handle = await cashier.start(request)

    async def void_tried() -> bool:
        return any(sent.operation == "void" for sent in line.sent)

    await eventually(void_tried)
    # The PG captures, and does nothing else before that.
    line.connects = False
    deleted = await cashier.billing.simulator.delete("/control/behaviours")
    assert deleted.status_code in (200, 204), deleted.text
    await captured_by_hand(cashier, request)
    line.connects = True
    return handle


async def test_what_the_pg_captures_while_its_void_is_tried_is_given_back(
    cashier: Cashier, connections: Connections
) -> None:
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    request = await cashier.prepare(*SPLIT, gateway=name, two_calls=True, waits=BRISK)

    handle = await captured_while_its_void_is_tried(cashier, request, line)

    assert (await handle.result()).status == "FAILED"
    await eventually_clean(cashier)
    totals = (await cashier.billing.book(request.payment_id))["totals"]["KRW"]
    assert (totals["captured"], totals["refunded"]) == (2000, 2000)


async def test_captured_is_never_read_as_voided(cashier: Cashier, connections: Connections) -> None:
    request, handle, _ = await void_in_review(cashier, connections)
    await captured_by_hand(cashier, request)

    answer = await resolve(cashier, request, "captured")

    assert (answer.status_code, answer.json()["status"]) == (200, "FAILED")
    assert (await handle.result()).status == "FAILED"
    await eventually_clean(cashier)
    assert len(await taken(cashier, request)) == 1


async def test_a_hint_finds_that_what_was_to_be_voided_was_captured(
    cashier: Cashier, connections: Connections
) -> None:
    request, handle, _ = await void_in_review(cashier, connections)
    await captured_by_hand(cashier, request)

    await handle.signal(PaymentSaga.gateway_hint)

    assert (await handle.result()).status == "FAILED"
    await eventually_clean(cashier)


async def test_the_answer_that_is_why_a_person_is_asked_does_not_end_the_review(
    cashier: Cashier, connections: Connections
) -> None:
    request, handle, line = await void_in_review(cashier, connections)

    await hinted(cashier, handle, line)

    assert await waiting(cashier, request.payment_id) == "void"
    assert await cashier.status(request) == "NEEDS_REVIEW"
    assert (await resolve(cashier, request, "voided")).json()["status"] == "FAILED"
    assert (await handle.result()).status == "FAILED"
    await assert_clean_slate(cashier.billing)


async def test_only_the_answers_to_the_question_are_taken(
    cashier: Cashier, connections: Connections
) -> None:
    request, handle, _ = await void_in_review(cashier, connections)

    found = await cashier.billing.get(f"/api/v1/payments/{request.payment_id}")
    refused = [await resolve(cashier, request, each) for each in ("failed", "authorized")]

    assert "(voided or captured)" in found["reviewReason"]
    for answer in refused:
        assert answer.status_code == 422
        assert answer.json()["type"].endswith("/not-an-answer")
    await handle.execute_update(PaymentSaga.resolve, Resolution(Outcome.VOIDED, "seen"))
    await assert_clean_slate(cashier.billing)


async def test_a_refused_refund_of_a_late_capture_waits_for_a_person_whatever_hints_come(
    cashier: Cashier, connections: Connections
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(0, 2000, number=REFUNDS_DECLINED, gateway=name, waits=BRISK)
    handle = await cashier.start(request)
    await until(cashier, request, "FAILED")
    line.requests_arrive = True
    await line.deliver_late(line.sent[0])
    await handle.result()
    refund_id = late_capture_refund_id(request.payment_id)
    await asked(cashier, refund_id, "late-capture-refund")
    owner = cashier.client.get_workflow_handle(refund_workflow_id(refund_id))

    await hinted(cashier, owner, line)

    assert await waiting(cashier, refund_id) == "late-capture-refund"
    refund = await cashier.billing.get(f"/api/v1/refunds/{refund_id}")
    assert refund["status"] == "NEEDS_REVIEW"
    # The PG does not know of it.
    cashier.billing.asks_no_pg()
    decision = Resolution(Outcome.REFUNDED, "sent back by bank")
    await owner.execute_update(RefundSaga.resolve, decision)
    assert await waiting(cashier, refund_id) is None


async def watched_authorization(
    cashier: Cashier, connections: Connections
) -> tuple[PaymentRequest, Handle, Any]:
    """A payment that has FAILED because its authorization was lost on the way."""
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(
        *SPLIT, number=VOIDS_DECLINED, gateway=name, two_calls=True, waits=BRISK
    )
    handle = await cashier.start(request)
    await until(cashier, request, "FAILED")
    await shown(handle, search_attributes.WATCHING)
    line.requests_arrive = True
    return request, handle, line


async def test_a_late_authorization_that_is_not_voided_can_be_found_and_decided(
    cashier: Cashier, connections: Connections
) -> None:
    request, handle, line = await watched_authorization(cashier, connections)
    await line.deliver_late(line.sent[0])

    await asked(cashier, request.payment_id, "void")
    found = await cashier.billing.get(f"/api/v1/payments/{request.payment_id}")
    answer = await resolve(cashier, request, "voided")

    assert (found["status"], "(voided or captured)" in found["reviewReason"]) == ("FAILED", True)
    assert (answer.status_code, answer.json()["reviewReason"]) == (200, None)
    assert (await handle.result()).status == "FAILED"
    assert await waiting(cashier, request.payment_id) is None
    await assert_clean_slate(cashier.billing)


@pytest.mark.parametrize("two_calls", [False, True], ids=["charge", "authorization"])
async def test_whoever_watches_is_started_again_and_undoes_what_comes_late(
    cashier: Cashier, connections: Connections, two_calls: bool
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(0, 2000, gateway=name, two_calls=two_calls, waits=BRISK)
    handle = await cashier.start(request)
    await until(cashier, request, "FAILED")
    await shown(handle, search_attributes.WATCHING)

    await handle.terminate("by hand")
    await sweep(cashier, BRISK)
    line.requests_arrive = True
    await line.deliver_late(line.sent[0])

    await cashier.client.get_workflow_handle(handle.id).result()
    await eventually_clean(cashier)
    [at_the_pg] = (await cashier.billing.book(request.payment_id))["payments"]
    assert at_the_pg["status"] == ("VOIDED" if two_calls else "CAPTURED")
    totals = (await cashier.billing.book(request.payment_id))["totals"].get("KRW", {})
    assert totals.get("captured", 0) == totals.get("refunded", 0)


async def test_a_watch_that_found_nothing_ends_with_its_window(
    cashier: Cashier, connections: Connections
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    waits = replace(BRISK, key_window=timedelta(seconds=3))
    request = await cashier.prepare(0, 2000, gateway=name, waits=waits)
    handle = await cashier.start(request)
    await handle.result()

    calls = len(cashier.calls(request))
    await sweep(cashier, waits)

    assert len(cashier.calls(request)) == calls
    await assert_clean_slate(cashier.billing)


async def test_a_later_run_that_finds_out_by_itself_leaves_nothing_to_be_decided(
    cashier: Cashier, connections: Connections
) -> None:
    request, handle, line = await in_review(cashier, connections)

    await handle.terminate("by hand")
    line.answers_arrive = line.inquiries_work = True
    await sweep(cashier, BRISK)
    await until(cashier, request, "COMPLETED")

    assert await waiting(cashier, request.payment_id) is None
    refused = await resolve(cashier, request, "failed")
    assert refused.status_code == 409
    await assert_clean_slate(cashier.billing)


@pytest.mark.parametrize("first", [Outcome.FAILED, Outcome.CAPTURED])
async def test_what_was_decided_first_counts_though_a_lost_task_meets_another_answer(
    cashier: Cashier, connections: Connections, first: Outcome
) -> None:
    """A task that is lost has done its local steps: here it had heard another operator."""
    request, handle, line = await in_review(cashier, connections)
    line.answers_arrive = line.inquiries_work = True
    lost = ClosedReview(request.payment_id, first, "heard in the lost task", "another update")
    await ReviewActivities(cashier.billing.database).close(lost)
    second = Outcome.CAPTURED if first is Outcome.FAILED else Outcome.FAILED

    await handle.execute_update(PaymentSaga.resolve, Resolution(second, "too late"))

    ends = {Outcome.FAILED: "FAILED", Outcome.CAPTURED: "COMPLETED"}
    assert await cashier.status(request) == ends[first]
    late = await resolve(cashier, request, second)
    assert (late.status_code, first in late.json()["detail"]) == (409, True)
    assert (await handle.result()).status == ends[first]
    await eventually_clean(cashier)


async def test_a_question_that_comes_late_about_a_payment_that_has_ended_is_not_asked(
    cashier: Cashier, connections: Connections
) -> None:
    """By a worker that was frozen: the payment is watched, and nobody waits for the answer."""
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(0, 2000, gateway=name, waits=BRISK)
    handle = await cashier.start(request)
    await shown(handle, search_attributes.WATCHING)
    why = (PaymentStatus.NEEDS_REVIEW, "undecidable", "gateway.charge")
    late = Marking(request, *why, Operation.CHARGE, Question.CAPTURE)

    await PaymentActivities(cashier.billing.database).mark(late)

    assert await waiting(cashier, request.payment_id) is None
    await handle.terminate("the test is over")


async def test_a_run_in_review_goes_on_though_another_run_has_ended_its_payment(
    cashier: Cashier, connections: Connections
) -> None:
    """The earlier run's worker was frozen in its last step."""
    request, handle, line = await in_review(cashier, connections)
    await PaymentActivities(cashier.billing.database).complete(Capture(request, "pg_1"))
    line.answers_arrive = line.inquiries_work = True

    await handle.signal(PaymentSaga.gateway_hint)

    assert (await handle.result()).status == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def test_whoever_answered_the_first_question_is_not_told_that_another_did(
    cashier: Cashier, connections: Connections
) -> None:
    """The capture failed, says one; and so its authorization is to be voided, which is declined."""
    name, line = connections.add()
    waits = replace(UNDECIDABLE, key_window=timedelta(seconds=3))
    request = await cashier.prepare(
        0, 2000, number=VOIDS_DECLINED, gateway=name, two_calls=True, waits=waits
    )
    parked = cashier.plan(request, "gateway.capture", Fault.PARK_BEFORE)
    handle = await cashier.start(request)
    await parked.reached.wait()
    line.requests_arrive = line.inquiries_work = False
    parked.release.set()
    await asked(cashier, request.payment_id, "capture")
    line.requests_arrive = line.inquiries_work = True
    path, key = f"/api/v1/payments/{request.payment_id}/resolve", uuid4().hex
    failed = {"outcome": "failed", "reason": "seen at the PG"}
    first = asyncio.create_task(cashier.billing.post(path, failed, key=key))
    await asked(cashier, request.payment_id, "void")

    assert (await resolve(cashier, request, "voided")).status_code == 200
    answers = [await first, await cashier.billing.post(path, failed, key=key)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert (await resolve(cashier, request, "failed")).status_code == 409
    assert (await handle.result()).status == "FAILED"
