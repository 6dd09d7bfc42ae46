"""A time-out is UNKNOWN, not a decline: what is pursued, what is believed, who decides."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from domain.access import SYSTEM
from domain.gateway import GatewayRequest
from domain.payment import PaymentRequest
from domain.review import Outcome, Resolution
from domain.waits import Waits
from service.standing import WorkflowStanding, standing
from store.database import Database
from tests.support.cashier import Cashier, Handle
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import eventually
from tests.support.fakes import Line, liar
from tests.support.faults import Fault
from tests.workflows.conftest import LONG, SHORT, UNANSWERED, Connections
from workflows import search_attributes
from workflows.payment_saga import PaymentSaga

SPLIT = (1000, 2000)

PATIENT = Waits(
    resend_window=timedelta(hours=1),
    ladder=(timedelta(seconds=0.05),),
    not_found_after=timedelta(hours=1),
)
"""Re-sends as long as a test may take."""

BRISK = Waits(
    resend_window=timedelta(seconds=1.5),
    ladder=tuple(timedelta(seconds=pause) for pause in (0.05, 0.1, 0.2, *(0.3,) * 12)),
    not_found_after=timedelta(seconds=0.6),
    not_found_apart=timedelta(seconds=0.1),
    key_window=timedelta(hours=1),
    read_timeout=timedelta(seconds=0.5),
)
"""Sends, but not for long: the window is many times what a busy machine needs from the row of the
attempt to its first call. Then asks, gives up soon, and watches as long as a test may take."""

WATCHED = replace(BRISK, key_window=timedelta(seconds=3))
"""Watches for a moment after it has given up."""

UNDECIDABLE = replace(BRISK, ladder=(timedelta(seconds=0.02),) * 3)
"""Asks three times, then wants a person."""


async def shown(handle: Handle, outcome: str) -> None:
    """Wait until the Temporal UI shows this `Outcome`: the row knows a moment before it."""

    async def reached() -> bool:
        attributes = (await handle.describe()).typed_search_attributes
        return attributes.get(search_attributes.OUTCOME) == outcome

    await eventually(reached)


async def until(cashier: Cashier, request: PaymentRequest, status: str) -> None:
    """Wait until the payment has this status."""

    async def reached() -> bool:
        return await cashier.status(request) == status

    await eventually(reached)


async def order_status(cashier: Cashier, request: PaymentRequest) -> str:
    found = await cashier.billing.get(f"/api/v1/orders/{request.payable_id}")
    return str(found["status"])


async def taken(cashier: Cashier, request: PaymentRequest) -> list[dict[str, Any]]:
    """What the PG captured for this payment."""
    book = await cashier.billing.book(request.payment_id)
    return [row for row in book["payments"] if row["status"] == "CAPTURED"]


# While the same key may be sent again.


@pytest.mark.parametrize(
    ("behaviour", "times"),
    [
        ("lose-answer", 1),
        ("hold-answer", 1),
        ("error-before-effect", 3),
        ("error-after-effect", 1),
        ("in-progress", 3),
        ("late-capture", 1),
    ],
)
async def test_what_was_not_answered_is_sent_again_and_captured_once(
    cashier: Cashier, connections: Connections, behaviour: str, times: int
) -> None:
    await cashier.billing.top_up(5000)
    name, line = connections.add(read_timeout_seconds=SHORT if behaviour in UNANSWERED else LONG)
    request = await cashier.prepare(*SPLIT, gateway=name, waits=PATIENT)
    more = {"seconds": 100} if behaviour == "late-capture" else {}
    await cashier.misbehave(request, behaviour, operation="charge", times=times, **more)

    outcome = await cashier.pay(request)

    assert outcome.status == "COMPLETED"
    assert len(line.sent) > 1
    assert len({sent.idempotency_key for sent in line.sent}) == 1
    assert len(await taken(cashier, request)) == 1
    await assert_clean_slate(cashier.billing)


async def test_while_it_is_found_out_everything_stays_held_and_the_order_is_not_payable(
    cashier: Cashier, connections: Connections
) -> None:
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(*SPLIT, gateway=name, waits=PATIENT)
    handle = await cashier.start(request)

    await until(cashier, request, "UNKNOWN")

    await shown(handle, "UNKNOWN")
    assert await cashier.billing.balance() == (4000, 1000)
    again = {"orderId": request.payable_id, "method": "WALLET"}
    assert (await cashier.billing.post("/api/v1/payments", again)).status_code == 409
    line.requests_arrive = True
    assert (await handle.result()).status == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def test_a_gateway_never_reached_fails_the_payment_and_all_is_undone(
    cashier: Cashier, connections: Connections
) -> None:
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    line.connects = False
    request = await cashier.prepare(*SPLIT, gateway=name, waits=BRISK)

    outcome = await cashier.pay(request)

    # Certainly nothing was sent, so nobody has to watch: the workflow has ended.
    assert (outcome.status, outcome.failure_code) == ("FAILED", "gateway-unavailable")
    assert await cashier.billing.balance() == (5000, 0)
    await assert_clean_slate(cashier.billing)


async def test_a_dead_port_is_a_gateway_never_reached(
    cashier: Cashier, connections: Connections
) -> None:
    name, _ = connections.add("http://127.0.0.1:9")
    request = await cashier.prepare(0, 2000, gateway=name, waits=BRISK)

    outcome = await cashier.pay(request)

    assert (outcome.status, outcome.failure_code) == ("FAILED", "gateway-unavailable")
    await assert_clean_slate(cashier.billing)


# After that the gateway is only asked.


async def test_a_lost_request_fails_and_is_watched_and_a_late_capture_is_given_back(
    cashier: Cashier, connections: Connections
) -> None:
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(*SPLIT, gateway=name, waits=BRISK)
    handle = await cashier.start(request)

    await until(cashier, request, "FAILED")

    await shown(handle, search_attributes.WATCHING)
    await assert_clean_slate(cashier.billing)
    # The order does not wait for the watch: it can be paid again.
    paid = await cashier.billing.pay(request.payable_id, "WALLET")
    assert paid["status"] == "COMPLETED"

    line.requests_arrive = True
    await line.deliver_late(line.sent[0])
    outcome = await handle.result()

    assert (outcome.status, outcome.failure_code) == ("FAILED", "gateway-not-found")

    async def given_back() -> bool:
        totals = (await cashier.billing.book(request.payment_id))["totals"]["KRW"]
        return bool(totals["refunded"] == 2000)

    await eventually(given_back)
    await eventually_clean(cashier)
    assert await cashier.status(request) == "FAILED"
    assert await order_status(cashier, request) == "COMPLETED"


async def test_a_watch_lasts_from_when_an_earlier_run_may_have_sent(
    cashier: Cashier, connections: Connections, owner: Database
) -> None:
    """The attempt rows are made with the payment, which may be started much later: while Temporal
    was down, longer than its gateway remembers keys."""
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(0, 2000, gateway=name, waits=BRISK)
    await made_before(owner, request, BRISK.key_window * 2)
    first = await cashier.start(request)
    await until(cashier, request, "UNKNOWN")
    await first.terminate("by hand")

    second = await cashier.start(request)
    await until(cashier, request, "FAILED")
    await asked_again(line)
    line.requests_arrive = True
    await line.deliver_late(line.sent[0])
    await second.result()

    assert await given_back(cashier, request) == 2000
    await eventually_clean(cashier)


async def test_a_watch_that_goes_on_ends_when_it_was_to_end(
    cashier: Cashier, connections: Connections, owner: Database
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(0, 2000, gateway=name, waits=BRISK)
    await made_before(owner, request, BRISK.key_window * 2)
    first = await cashier.start(request)
    await until(cashier, request, "FAILED")
    await shown(first, search_attributes.WATCHING)
    await first.terminate("by hand")

    second = await cashier.start(request)
    await asked_again(line)
    line.requests_arrive = True
    await line.deliver_late(line.sent[0])
    await second.result()

    assert await given_back(cashier, request) == 2000
    await eventually_clean(cashier)


async def asked_again(line: Line) -> None:
    """Wait until the gateway has been asked more often than by a watch that is over."""
    before = len(line.inquired)

    async def more() -> bool:
        return len(line.inquired) > before + 2

    await eventually(more)


async def made_before(owner: Database, request: PaymentRequest, age: timedelta) -> None:
    """As if its payment had been made so long ago."""
    older = text("""
UPDATE gateway_attempts SET opened_at = now() - CAST(:age AS interval) WHERE payment_id = :id
""")
    async with owner.begin(SYSTEM) as tx:
        await tx.execute(older, {"age": age, "id": request.payment_id})


async def given_back(cashier: Cashier, request: PaymentRequest) -> int:
    """What the PG has refunded, once what was taken is."""

    async def all_of_it() -> bool:
        totals = (await cashier.billing.book(request.payment_id))["totals"]["KRW"]
        return bool(totals["refunded"] == totals["captured"])

    await eventually(all_of_it)
    return int((await cashier.billing.book(request.payment_id))["totals"]["KRW"]["refunded"])


async def eventually_clean(cashier: Cashier) -> None:
    """Wait for the refunds that nobody waits for, then compare."""

    async def refunds_ended() -> bool:
        try:
            await assert_clean_slate(cashier.billing)
        except AssertionError as residue:
            if "nothing_is_under_way" in str(residue):
                return False
            raise
        return True

    await eventually(refunds_ended)


async def test_a_capture_found_by_asking_completes_the_payment(
    cashier: Cashier, connections: Connections
) -> None:
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    line.answers_arrive = False
    request = await cashier.prepare(*SPLIT, gateway=name, waits=BRISK)

    outcome = await cashier.pay(request)

    assert outcome.status == "COMPLETED"
    assert line.inquired
    await assert_clean_slate(cashier.billing)


async def test_a_decline_found_by_asking_fails_the_payment(
    cashier: Cashier, connections: Connections
) -> None:
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    line.answers_arrive = False
    request = await cashier.prepare(*SPLIT, gateway=name, waits=BRISK, number="4000000000009995")

    outcome = await cashier.pay(request)

    assert (outcome.status, outcome.failure_code) == ("FAILED", "declined")
    found = await cashier.billing.get(f"/api/v1/payments/{request.payment_id}")
    assert found["gatewayCode"] == "insufficient_funds"
    await assert_clean_slate(cashier.billing)


async def test_nobody_watches_longer_than_the_gateway_remembers_keys(
    cashier: Cashier, connections: Connections
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(0, 2000, gateway=name, waits=WATCHED)

    outcome = await cashier.pay(request)

    assert (outcome.status, outcome.failure_code) == ("FAILED", "gateway-not-found")
    await assert_clean_slate(cashier.billing)


async def test_a_hint_is_asked_about_at_once(cashier: Cashier, connections: Connections) -> None:
    name, line = connections.add()
    line.answers_arrive = False
    slow = replace(PATIENT, ladder=(timedelta(minutes=5),))
    request = await cashier.prepare(0, 2000, gateway=name, waits=slow)
    handle = await cashier.start(request)
    await until(cashier, request, "UNKNOWN")
    line.answers_arrive = True

    await handle.signal(PaymentSaga.gateway_hint)

    assert (await handle.result()).status == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def test_an_answer_about_another_amount_is_not_believed(
    cashier: Cashier, connections: Connections
) -> None:
    await cashier.billing.top_up(5000)
    waits = replace(UNDECIDABLE, key_window=timedelta(seconds=1))
    async with liar() as url:
        name, line = connections.add(url)
        request = await cashier.prepare(*SPLIT, gateway=name, waits=waits)
        handle = await cashier.start(request)
        await until(cashier, request, "NEEDS_REVIEW")
        assert await cashier.billing.balance() == (4000, 1000)

        failed = Resolution(Outcome.FAILED, "their bug")
        outcome = await handle.execute_update(PaymentSaga.resolve, failed)
        # A PG that never says anything believable is watched for ever: nobody else could tell.
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        await handle.terminate("the PG of this test is gone")

    assert outcome.status == "FAILED"
    assert line.sent
    await assert_clean_slate(cashier.billing)


async def asked_more_often(calls: list[GatewayRequest], than: int) -> None:
    async def reached() -> bool:
        return len(calls) > than

    await eventually(reached)


async def due(cashier: Cashier, handle: Handle) -> datetime:
    """When the payment asks again by itself."""

    async def pauses() -> WorkflowStanding | None:
        found = await standing(cashier.client, handle.id)
        return found if found and found.timers and not found.activities else None

    paused = await eventually(pauses)
    assert paused is not None
    [timer] = paused.timers
    return timer.ends_at


@pytest.mark.parametrize("window", [timedelta(hours=9), BRISK.resend_window], ids=["sent", "asked"])
async def test_hints_take_no_step_of_the_ladder(
    cashier: Cashier, connections: Connections, window: timedelta
) -> None:
    """However often the PG is said to have news while it is down: else so many hints would end in
    the longest pause, or with a person."""
    steps = tuple(timedelta(hours=hours) for hours in (1, 3))
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    line.requests_arrive = line.inquiries_work = False
    waits = replace(BRISK, ladder=steps, resend_window=window)
    request = await cashier.prepare(*SPLIT, gateway=name, waits=waits)
    calls = line.sent if window > steps[0] else line.inquired
    handle = await cashier.start(request)
    await asked_more_often(calls, 0)
    before = await due(cashier, handle)

    for _ in range(len(steps) + 1):
        so_often = len(calls)
        await handle.signal(PaymentSaga.gateway_hint)
        await asked_more_often(calls, so_often)
        assert abs(await due(cashier, handle) - before) < steps[0], "the same step goes on"

    assert await cashier.status(request) == "UNKNOWN", "nobody is asked"
    await line.deliver_late(line.sent[0])
    line.requests_arrive = line.inquiries_work = True
    await handle.signal(PaymentSaga.gateway_hint)
    assert (await handle.result()).status == "COMPLETED"
    assert len(await taken(cashier, request)) == 1
    await assert_clean_slate(cashier.billing)


# What cannot be found out waits for a person.


async def in_review(
    cashier: Cashier, connections: Connections
) -> tuple[PaymentRequest, Handle, Any]:
    """A split payment whose charge was captured, lost its answer, and cannot be inquired."""
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    line.answers_arrive = line.inquiries_work = False
    request = await cashier.prepare(*SPLIT, gateway=name, waits=UNDECIDABLE)
    handle = await cashier.start(request)
    await until(cashier, request, "NEEDS_REVIEW")
    return request, handle, line


async def test_in_review_everything_stays_held_until_an_operator_says_captured(
    cashier: Cashier, connections: Connections
) -> None:
    request, handle, _ = await in_review(cashier, connections)
    assert await order_status(cashier, request) == "NEEDS_REVIEW"
    await shown(handle, "NEEDS_REVIEW")
    assert await cashier.billing.balance() == (4000, 1000)

    answer = await cashier.billing.post(
        f"/api/v1/payments/{request.payment_id}/resolve",
        {"outcome": "captured", "reason": "seen in the PG's back office"},
    )

    assert (answer.status_code, answer.json()["status"]) == (200, "COMPLETED")
    assert (await handle.result()).status == "COMPLETED"
    assert await order_status(cashier, request) == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def test_a_wrong_decision_is_found_out_and_the_capture_given_back(
    cashier: Cashier, connections: Connections
) -> None:
    request, handle, line = await in_review(cashier, connections)

    answer = await cashier.billing.post(
        f"/api/v1/payments/{request.payment_id}/resolve",
        {"outcome": "failed", "reason": "not seen in the PG's back office"},
    )
    assert (answer.json()["status"], answer.json()["failureCode"]) == ("FAILED", "resolved-failed")
    assert answer.json()["gatewayCode"] is None
    assert await cashier.billing.balance() == (5000, 0)
    line.answers_arrive = line.inquiries_work = True

    assert (await handle.result()).status == "FAILED"
    await eventually_clean(cashier)


async def test_a_hint_in_review_finds_the_capture(
    cashier: Cashier, connections: Connections
) -> None:
    request, handle, line = await in_review(cashier, connections)
    line.inquiries_work = True

    await handle.signal(PaymentSaga.gateway_hint)

    assert (await handle.result()).status == "COMPLETED"
    assert await order_status(cashier, request) == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def test_the_first_of_two_operators_decides(
    cashier: Cashier, connections: Connections
) -> None:
    _, handle, _ = await in_review(cashier, connections)
    decisions = [Outcome.CAPTURED, Outcome.FAILED, Outcome.FAILED]

    answers = await asyncio.gather(
        *(
            handle.execute_update(PaymentSaga.resolve, Resolution(each, "why"))
            for each in decisions
        ),
        return_exceptions=True,
    )

    accepted = [answer for answer in answers if not isinstance(answer, BaseException)]
    refused = [answer for answer in answers if isinstance(answer, WorkflowUpdateFailedError)]
    # The API answers a closed workflow from the row.
    closed = [answer for answer in answers if isinstance(answer, RPCError)]
    assert all(answer.status is RPCStatusCode.NOT_FOUND for answer in closed)
    assert (len(accepted), len(refused) + len(closed)) == (1, 2), answers


async def test_where_nothing_waits_a_decision_is_rejected(
    cashier: Cashier, connections: Connections
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(0, 2000, gateway=name, waits=PATIENT)
    handle = await cashier.start(request)
    await until(cashier, request, "UNKNOWN")

    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(PaymentSaga.resolve, Resolution(Outcome.FAILED, "too early"))

    line.requests_arrive = True
    assert (await handle.result()).status == "COMPLETED"
    await assert_clean_slate(cashier.billing)


# A cancellation is a request.


async def test_cancelled_before_the_pivot(cashier: Cashier) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)
    cashier.plan(request, "wallet.hold", Fault.FAIL_BEFORE, times=1_000)
    handle = await cashier.start(request)

    # After a second the hold becomes a timer in the history, where a cancellation finds it.
    await happened(handle, "timer_started_event_attributes")
    await handle.cancel()
    outcome = await handle.result()

    assert (outcome.status, outcome.failure_code) == ("CANCELLED", "cancelled")
    assert "gateway.charge" not in cashier.calls(request)
    await assert_clean_slate(cashier.billing)


async def test_cancelled_during_the_pivot_it_completes(cashier: Cashier) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)
    parked = cashier.plan(request, "gateway.charge", Fault.PARK_BEFORE)
    handle = await cashier.start(request)
    await parked.reached.wait()

    answer = await asyncio.gather(
        cashier.billing.post(f"/api/v1/payments/{request.payment_id}/cancel", {}),
        let_go_when_cancelled(handle, parked.release),
    )

    assert (await handle.result()).status == "COMPLETED"
    assert (answer[0].status_code, answer[0].json()["status"]) == (200, "COMPLETED")
    await assert_clean_slate(cashier.billing)


async def let_go_when_cancelled(handle: Handle, release: asyncio.Event) -> None:
    await happened(handle, "workflow_execution_cancel_requested_event_attributes")
    release.set()


async def happened(handle: Handle, event: Any) -> None:
    """Wait until the history has such an event."""

    async def is_there() -> bool:
        return any(each.HasField(event) for each in (await handle.fetch_history()).events)

    await eventually(is_there)


@pytest.mark.parametrize(
    ("arrives", "status"), [(True, "COMPLETED"), (False, "CANCELLED")], ids=["captured", "lost"]
)
async def test_cancelled_while_unknown_it_is_found_out_first(
    cashier: Cashier, connections: Connections, arrives: bool, status: str
) -> None:
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    line.requests_arrive, line.answers_arrive = arrives, False
    waits = replace(BRISK, resend_window=timedelta(hours=1), key_window=timedelta(seconds=1))
    request = await cashier.prepare(*SPLIT, gateway=name, waits=waits)
    handle = await cashier.start(request)
    await until(cashier, request, "UNKNOWN")

    await handle.cancel()
    sent = len(line.sent)
    outcome = await handle.result()

    assert outcome.status == status
    assert len(line.sent) <= sent + 1
    await assert_clean_slate(cashier.billing)


async def test_a_cancellation_that_meets_the_end_of_a_wallet_payment_changes_nothing(
    cashier: Cashier,
) -> None:
    """The task that completes the payment is run again with the cancellation in its history, while
    its beginning is settled: what it would now undo has been taken."""
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(wallet=3000)
    cashier.plan(request, "wallet.hold", Fault.FAIL_BEFORE, times=4)
    parked = cashier.plan(request, "payment.complete", Fault.PARK_AFTER)
    handle = await cashier.start(request)
    await parked.reached.wait()

    await handle.cancel()
    parked.release.set()
    outcome = await handle.result()

    assert outcome.status == "COMPLETED"
    await assert_clean_slate(cashier.billing)


# One gateway's trouble is its own.


async def test_an_open_breaker_touches_neither_another_gateway_nor_the_wallet(
    cashier: Cashier, connections: Connections
) -> None:
    await cashier.billing.top_up(5000)
    broken, line = connections.add(breaker_minimum_calls=4, breaker_open_seconds=3600)
    line.connects = False
    good, _ = connections.add()
    unlucky = [await cashier.prepare(0, 2000, gateway=broken, waits=BRISK) for _ in range(4)]
    lost = await asyncio.gather(*map(cashier.pay, unlucky))
    assert {outcome.failure_code for outcome in lost} == {"gateway-unavailable"}

    line.connects = True
    turned_away = await cashier.pay(await cashier.prepare(0, 2000, gateway=broken, waits=BRISK))
    by_card = await cashier.pay(await cashier.prepare(0, 2000, gateway=good))
    by_wallet = await cashier.pay(await cashier.prepare(2000))

    assert turned_away.failure_code == "gateway-unavailable"
    assert line.sent == []
    assert (by_card.status, by_wallet.status) == ("COMPLETED", "COMPLETED")
    await assert_clean_slate(cashier.billing)
