"""Every step of a refund, run twice: the same state, the same answer."""

import pytest

from activities.payment import PaymentActivities
from activities.refund import RefundActivities
from activities.wallet import WalletActivities
from domain.access import SYSTEM
from domain.payment import Capture, PaymentRequest
from domain.refund import (
    CompletedRefund,
    FailedRefund,
    RefundMarking,
    RefundRequest,
    RefundStatus,
    of_late_capture,
)
from store import gateway_attempt
from store.database import Database
from tests.activities.conftest import Twice
from tests.support.cashier import Cashier


async def a_paid_order(database: Database, cashier: Cashier) -> PaymentRequest:
    """A completed payment of 1,000 from the wallet and 2,000 from the card."""
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(1000, 2000)
    await WalletActivities(database).hold(request)
    await PaymentActivities(database).complete(Capture(request, "pg_1"))
    return request


async def refunded(cashier: Cashier, paid: PaymentRequest) -> int:
    found = await cashier.billing.get(f"/api/v1/payments/{paid.payment_id}")
    return int(found["refundedAmount"])


def failed(refund: RefundRequest) -> FailedRefund:
    return FailedRefund(refund, "declined", "The refund was declined.", "refund_declined")


async def test_open_finds_its_own_attempt_and_that_of_an_earlier_run(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    paid = await a_paid_order(database, cashier)
    refunds = RefundActivities(database)
    first = await twice(refunds.open, await cashier.prepare_refund(paid, 500))
    resumed = await cashier.prepare_refund(paid, 500)
    async with database.begin(SYSTEM) as tx:
        await gateway_attempt.open_(tx, resumed.gateway_refund(), "another run")

    second = await twice(refunds.open, resumed)
    from_wallet = await twice(refunds.open, await cashier.prepare_refund(paid, 0, 500))

    assert first.attempt is not None
    assert second.attempt is not None
    assert (first.attempt.resumed, second.attempt.resumed) == (False, True)
    assert from_wallet.attempt is None


async def test_complete_gives_back_once(database: Database, cashier: Cashier, twice: Twice) -> None:
    paid = await a_paid_order(database, cashier)
    refund = await cashier.prepare_refund(paid, 2000, 500)

    await twice(RefundActivities(database).complete, CompletedRefund(refund, "rf_1"))

    assert await cashier.billing.balance() == (4500, 0)
    assert await refunded(cashier, paid) == 2500


async def test_fail_frees_its_part_once(database: Database, cashier: Cashier, twice: Twice) -> None:
    paid = await a_paid_order(database, cashier)
    refunds = RefundActivities(database)
    kept = await cashier.prepare_refund(paid, 500)

    await twice(refunds.fail, failed(await cashier.prepare_refund(paid, 1500, 1000)))

    await cashier.prepare_refund(paid, 1500, 1000)
    await twice(refunds.complete, CompletedRefund(kept, "rf_1"))
    assert await refunded(cashier, paid) == 500


@pytest.mark.parametrize(
    ("code", "outcome"), [("declined", "DECLINED"), ("gateway-unavailable", "NOT_SENT")]
)
async def test_an_attempt_says_whether_the_gateway_was_ever_asked(
    database: Database, cashier: Cashier, code: str, outcome: str
) -> None:
    paid = await a_paid_order(database, cashier)
    refund = await cashier.prepare_refund(paid, 2000)
    refunds = RefundActivities(database)
    async with database.begin(SYSTEM) as tx:
        await gateway_attempt.open_(tx, refund.gateway_refund(), "run")

    await refunds.fail(FailedRefund(refund, code, "No."))

    found = await cashier.billing.get(f"/api/v1/payments/{paid.payment_id}")
    [attempt] = [each for each in found["attempts"] if each["operation"] == "refund"]
    assert attempt["outcome"] == outcome


async def test_money_given_back_after_the_refund_had_failed_must_be_seen(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    paid = await a_paid_order(database, cashier)
    refunds = RefundActivities(database)
    refund = await cashier.prepare_refund(paid, 2000)
    await refunds.fail(failed(refund))

    assert await twice.raises(refunds.complete, CompletedRefund(refund, "rf_1")) is RuntimeError


async def test_marks_stay_until_the_end_and_not_longer(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    paid = await a_paid_order(database, cashier)
    refunds = RefundActivities(database)
    refund = await cashier.prepare_refund(paid, 2000)

    await refunds.mark(RefundMarking(refund, RefundStatus.NEEDS_REVIEW, "undecidable"))
    await twice(refunds.complete, CompletedRefund(refund, None))
    await twice(refunds.mark, RefundMarking(refund, RefundStatus.UNKNOWN, "late"))

    found = await cashier.billing.get(f"/api/v1/refunds/{refund.refund_id}")
    assert (found["status"], found["reviewReason"]) == ("COMPLETED", None)


async def test_a_late_capture_given_back_leaves_what_can_be_refunded_alone(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    paid = await a_paid_order(database, cashier)
    second = await cashier.prepare(0, 700)
    await PaymentActivities(database).record_late_capture(second)

    late = of_late_capture(second)
    await twice(RefundActivities(database).complete, CompletedRefund(late, "rf_1"))

    assert await refunded(cashier, second) == 0
    assert await refunded(cashier, paid) == 0
