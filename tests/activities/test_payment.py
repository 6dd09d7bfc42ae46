"""Every step of a payment, run twice: the same state, the same answer."""

from dataclasses import replace

from activities.payment import PaymentActivities
from activities.wallet import WalletActivities
from domain.access import SYSTEM
from domain.errors import HoldReleased
from domain.gateway import GatewayAnswer, GatewayStatus, Operation
from domain.payment import Capture, FailedPayment, Marking, PaymentRequest, PaymentStatus
from domain.review import QUESTIONS
from store import gateway_attempt, payment, review
from store.database import Database
from tests.activities.conftest import Twice
from tests.support.cashier import Cashier
from tests.support.clean_slate import Totals, assert_clean_slate

SPLIT = (1000, 2000)


class Captured:
    """The book of a PG that captured the whole card part of one payment."""

    def __init__(self, request: PaymentRequest) -> None:
        self._request = request

    async def __call__(self, payment_id: str) -> Totals:
        assert payment_id == self._request.payment_id
        return {self._request.currency: {"captured": self._request.card_amount, "refunded": 0}}


def failed(request: PaymentRequest, status: PaymentStatus = PaymentStatus.FAILED) -> FailedPayment:
    answer = GatewayAnswer(GatewayStatus.DECLINED, code="card_declined")
    return FailedPayment(
        request,
        status,
        "declined",
        "The card was declined.",
        "card_declined",
        answers={Operation.CHARGE: answer},
    )


CHARGE = "gateway.charge"


def asks(request: PaymentRequest, reason: str) -> Marking:
    """A mark with which the payment waits for a person."""
    operation, status = Operation.CHARGE, PaymentStatus.NEEDS_REVIEW
    return Marking(request, status, reason, CHARGE, operation, QUESTIONS[operation])


async def test_open_tells_a_run_that_an_earlier_one_may_have_sent_something(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    request = await cashier.prepare(*SPLIT)
    async with database.begin(SYSTEM) as tx:
        await payment.request_cancel(tx, request.payment_id)

    opened = await twice(PaymentActivities(database).open, request)

    resumed = opened.attempts[Operation.CHARGE].resumed
    assert (resumed, opened.cancel_requested) == (True, True)


async def test_without_a_card_part_no_attempt_is_opened(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    opened = await twice(PaymentActivities(database).open, await cashier.prepare(wallet=1000))

    assert opened.attempts == {}


async def test_a_payment_without_a_row_is_a_fault_and_not_an_answer(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    request = await cashier.prepare(*SPLIT)
    stranger = replace(request, payment_id=request.payable_id)

    assert await twice.raises(PaymentActivities(database).open, stranger) is RuntimeError


async def test_marks_can_be_made_again_until_the_end(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    payments = PaymentActivities(database)
    request = await cashier.prepare(0, 2000)

    await payments.mark(
        Marking(request, PaymentStatus.UNKNOWN, "no answer", CHARGE, Operation.CHARGE)
    )
    assert await cashier.status(request) == "UNKNOWN"
    await payments.mark(asks(request, "undecidable"))
    assert await cashier.status(request) == "NEEDS_REVIEW"
    order = await cashier.billing.get(f"/api/v1/orders/{request.payable_id}")
    assert order["status"] == "NEEDS_REVIEW"

    await twice(payments.complete, Capture(request, "pg_1"))
    late = asks(request, "a mark that comes late")
    await twice(payments.mark, late)
    assert await cashier.status(request) == "COMPLETED"
    async with database.engine.connect() as tx:
        asked = await review.of_payment(tx, request.payment_id)
    # What has ended and is not watched has nobody who could take an answer.
    assert [(row.reason, row.outcome) for row in asked] == [("undecidable", review.SUPERSEDED)]


async def test_complete_takes_once(database: Database, cashier: Cashier, twice: Twice) -> None:
    payments = PaymentActivities(database)
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)
    await twice(payments.open, request)
    await twice(WalletActivities(database).hold, request)

    await twice(payments.complete, Capture(request, "pg_1"))

    await assert_clean_slate(cashier.billing, Captured(request))
    assert await cashier.billing.balance() == (4000, 0)


async def test_complete_without_its_hold_takes_nothing(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)

    complete = PaymentActivities(database).complete
    assert await twice.raises(complete, Capture(request, "pg_1")) is RuntimeError
    assert await cashier.status(request) == "PENDING"


async def test_fail_ends_once(database: Database, cashier: Cashier, twice: Twice) -> None:
    payments = PaymentActivities(database)
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)
    await twice(payments.open, request)
    await twice(WalletActivities(database).release, request)

    assert await twice(payments.fail, failed(request)) is PaymentStatus.FAILED

    await assert_clean_slate(cashier.billing)


async def test_the_first_end_stands_whatever_comes_after_it(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    payments = PaymentActivities(database)
    lost = await cashier.prepare(0, 2000)
    won = await cashier.prepare(0, 2000)
    await payments.fail(failed(lost))
    await payments.complete(Capture(won, "pg_1"))

    cancelled = PaymentStatus.CANCELLED
    assert await twice(payments.fail, failed(lost, cancelled)) is PaymentStatus.FAILED
    assert await twice(payments.fail, failed(won, cancelled)) is PaymentStatus.COMPLETED
    # Money that was taken after the end was told is given back by whoever took it.
    assert await twice.raises(payments.complete, Capture(lost, "pg_2")) is HoldReleased


async def test_a_late_capture_is_booked_in_suspense_once(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    payments = PaymentActivities(database)
    request = await cashier.prepare(0, 2000)
    await twice(payments.open, request)
    await payments.fail(failed(request))

    await twice(payments.record_late_capture, request)

    async with database.engine.connect() as tx:
        (attempt,) = await gateway_attempt.of_payment(tx, request.payment_id)
    assert attempt.outcome == GatewayStatus.CAPTURED
