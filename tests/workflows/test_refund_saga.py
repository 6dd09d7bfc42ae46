"""What was taken goes back once: card first, then wallet, never more than was captured."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product

import httpx2
import pytest
from temporalio.client import Client

from domain.payment import PaymentRequest
from service.starts import start_refund
from store.database import Database
from tests.support.billing import GOOD_CARD, Billing
from tests.support.cashier import Cashier
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import eventually, patience
from tests.support.faults import Fault, FaultInjector
from tests.workflows.conftest import LONG, SHORT, UNANSWERED, Chosen, Connections
from tests.workflows.test_pursuit import BRISK, PATIENT

OPEN, SEND = "refund.open", "gateway.refund"
COMPLETE, FAIL = "refund.complete", "refund.fail"

REFUNDS_DECLINED = "4000000000019002"
AT_A_TIME = 8

PLANNED = {
    "fails before": Fault.FAIL_BEFORE,
    "answer lost": Fault.LOSE_ANSWER,
    "cancel before the effect": Fault.PARK_BEFORE,
    "cancel after the effect": Fault.PARK_AFTER,
    "hint before the effect": Fault.PARK_BEFORE,
    "hint after the effect": Fault.PARK_AFTER,
}


@dataclass(frozen=True)
class Row:
    """What happens to which step of a refund of (card part, wallet part)."""

    parts: tuple[int, int]
    step: str
    happens: str
    declined: bool

    def __str__(self) -> str:
        gateway = "declines" if self.declined else "agrees"
        return f"{self.parts}, the gateway {gateway}: {self.step} {self.happens}"


def table() -> Iterator[Row]:
    for happens, parts in product(PLANNED, [(2000, 500), (0, 500)]):
        for step in (OPEN, SEND, COMPLETE) if parts[0] else (OPEN, COMPLETE):
            yield Row(parts, step, happens, declined=False)
        for step in (OPEN, SEND, FAIL) if parts[0] else ():
            yield Row(parts, step, happens, declined=True)


async def test_every_step_survives_everything_that_can_happen_to_it(
    api: httpx2.AsyncClient,
    simulator: httpx2.AsyncClient,
    database: Database,
    payments: None,
    temporal_client: Client,
    faults: FaultInjector,
    chosen: Chosen,
) -> None:
    rows = chosen(table())
    counter = asyncio.Semaphore(AT_A_TIME)
    failed: dict[str, BaseException] = {}

    async def run(row: Row) -> None:
        async with counter:
            billing = await Billing.for_new_customer(api, simulator, database)
            try:
                async with patience():
                    await _play(row, Cashier(billing, temporal_client, faults))
            except (AssertionError, TimeoutError) as error:
                failed[str(row)] = error

    await asyncio.gather(*map(run, rows))

    print(f"\n{len(rows)} rows of the table of RefundSaga")
    assert not failed, "\n".join(f"{row}: {error!r}" for row, error in sorted(failed.items()))


async def _play(row: Row, cashier: Cashier) -> None:
    number = REFUNDS_DECLINED if row.declined else GOOD_CARD
    paid = await a_paid_order(cashier, number=number)
    request = await cashier.prepare_refund(paid, *row.parts)
    parked = cashier.plan(request, row.step, PLANNED[row.happens])

    handle = await start_refund(cashier.client, request)
    if "cancel" in row.happens or "hint" in row.happens:
        await parked.reached.wait()
        await (handle.cancel() if "cancel" in row.happens else handle.signal("gateway_hint"))
        parked.release.set()
    outcome = await handle.result()

    # A refund is not cancelled; one that was to be before it asked the gateway may ask no more.
    unasked = row.parts[0] and row.step == OPEN and "cancel" in row.happens
    expected = {"FAILED" if row.declined else "COMPLETED"} | ({"FAILED"} if unasked else set())
    assert outcome.status in expected, outcome
    await assert_clean_slate(cashier.billing)


async def a_paid_order(
    cashier: Cashier,
    wallet: int = 1000,
    card: int = 2000,
    *,
    number: str = GOOD_CARD,
    gateway: str = "simulator",
) -> PaymentRequest:
    """A completed payment; the wallet had 5,000 before it."""
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(wallet, card, number=number, gateway=gateway)
    assert (await cashier.pay(request)).status == "COMPLETED"
    return request


async def refund_through_api(
    cashier: Cashier, paid: PaymentRequest, amount: int | None = None
) -> httpx2.Response:
    body = {"paymentId": paid.payment_id, "reason": "returned"}
    sized = body if amount is None else {**body, "amount": amount}
    return await cashier.billing.post("/api/v1/refunds", sized)


async def test_partial_refunds_go_to_the_card_first_and_then_to_the_wallet(
    cashier: Cashier,
) -> None:
    paid = await a_paid_order(cashier)

    first = await refund_through_api(cashier, paid, 1500)
    second = await refund_through_api(cashier, paid, 800)

    assert (first.json()["cardAmount"], first.json()["walletAmount"]) == (1500, 0)
    assert (second.json()["cardAmount"], second.json()["walletAmount"]) == (500, 300)
    assert await cashier.billing.balance() == (4300, 0)
    await assert_clean_slate(cashier.billing)


async def test_more_than_what_is_left_is_refused_and_the_rest_can_be_given(
    cashier: Cashier,
) -> None:
    paid = await a_paid_order(cashier)
    assert (await refund_through_api(cashier, paid, 2500)).json()["status"] == "COMPLETED"

    above = await refund_through_api(cashier, paid, 501)
    rest = await refund_through_api(cashier, paid)
    nothing = await refund_through_api(cashier, paid)

    assert (above.status_code, above.json()["type"].rpartition("/")[2]) == (
        422,
        "refund-exceeds-capture",
    )
    assert (rest.json()["amount"], rest.json()["status"]) == (500, "COMPLETED")
    assert nothing.status_code == 422
    # A payment that was refunded whole is still a completed one: its order is not payable again.
    assert await cashier.status(paid) == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def test_what_the_gateway_refuses_can_be_refunded_again(
    cashier: Cashier,
) -> None:
    paid = await a_paid_order(cashier)
    await cashier.misbehave(paid, "decline", operation="refund")

    refused = await refund_through_api(cashier, paid)
    again = await refund_through_api(cashier, paid)

    assert (refused.status_code, refused.json()["status"]) == (201, "FAILED")
    assert (refused.json()["failureCode"], refused.json()["gatewayCode"]) == (
        "declined",
        "refund_declined",
    )
    assert (again.json()["status"], again.json()["amount"]) == ("COMPLETED", 3000)
    assert await cashier.billing.balance() == (5000, 0)
    await assert_clean_slate(cashier.billing)


@pytest.mark.parametrize(
    ("behaviour", "times"),
    [
        ("lose-answer", 1),
        ("hold-answer", 1),
        ("error-before-effect", 2),
        ("error-after-effect", 1),
        ("in-progress", 2),
        ("late-capture", 1),
    ],
)
async def test_a_refund_that_was_not_answered_is_given_once(
    cashier: Cashier, connections: Connections, behaviour: str, times: int
) -> None:
    name, line = connections.add(read_timeout_seconds=SHORT if behaviour in UNANSWERED else LONG)
    paid = await a_paid_order(replace(cashier, waits=PATIENT), gateway=name)
    more = {"seconds": 100} if behaviour == "late-capture" else {}
    await cashier.misbehave(paid, behaviour, operation="refund", times=times, **more)
    line.sent.clear()

    outcome = await cashier.refund(await cashier.prepare_refund(paid, 2000, 500))

    assert outcome.status == "COMPLETED"
    assert len(line.sent) > 1
    assert len({sent.idempotency_key for sent in line.sent}) == 1
    assert len((await cashier.billing.book(paid.payment_id))["refunds"]) == 1
    await assert_clean_slate(cashier.billing)


async def test_of_twenty_refunds_of_thirty_percent_at_once_exactly_three_are_given(
    cashier: Cashier,
) -> None:
    paid = await a_paid_order(cashier)

    answers = await asyncio.gather(*(refund_through_api(cashier, paid, 900) for _ in range(20)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] * 3 + [422] * 17
    assert {answer.json()["status"] for answer in answers if answer.status_code == 201} == {
        "COMPLETED"
    }
    found = await cashier.billing.get(f"/api/v1/payments/{paid.payment_id}")
    assert found["refundedAmount"] == 2700
    await assert_clean_slate(cashier.billing)


async def test_a_refund_that_the_gateway_does_not_know_waits_for_a_person(
    cashier: Cashier, connections: Connections
) -> None:
    """It was sent, so failing it would let the same money be refunded twice."""
    name, line = connections.add()
    paid = await a_paid_order(replace(cashier, waits=BRISK), gateway=name)
    line.requests_arrive = False
    request = await cashier.prepare_refund(paid, 2000)
    handle = await start_refund(cashier.client, request)

    async def in_review() -> bool:
        found = await cashier.billing.get(f"/api/v1/refunds/{request.refund_id}")
        return bool(found["status"] == "NEEDS_REVIEW")

    await eventually(in_review)
    too_much = await refund_through_api(cashier, paid, 2000)
    assert too_much.status_code == 422

    answer = await cashier.billing.post(
        f"/api/v1/refunds/{request.refund_id}/resolve",
        {"outcome": "failed", "reason": "the PG never saw it"},
    )
    assert (answer.status_code, answer.json()["failureCode"]) == (200, "resolved-failed")
    assert answer.json()["gatewayCode"] is None
    assert (await handle.result()).status == "FAILED"
    line.requests_arrive = True
    assert (await refund_through_api(cashier, paid, 3000)).json()["status"] == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def test_a_hint_ends_the_review_of_a_refund(
    cashier: Cashier, connections: Connections
) -> None:
    name, line = connections.add()
    brisk = replace(BRISK, ladder=(timedelta(seconds=0.05),) * 3)
    paid = await a_paid_order(replace(cashier, waits=brisk), gateway=name)
    line.answers_arrive = line.inquiries_work = False
    request = await cashier.prepare_refund(paid, 2000)
    handle = await start_refund(cashier.client, request)

    async def in_review() -> bool:
        found = await cashier.billing.get(f"/api/v1/refunds/{request.refund_id}")
        return bool(found["status"] == "NEEDS_REVIEW")

    await eventually(in_review)
    line.inquiries_work = True
    await handle.signal("gateway_hint")

    assert (await handle.result()).status == "COMPLETED"
    await assert_clean_slate(cashier.billing)
