"""How a payment divides, what it books, and what the world learns of it."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import InvalidRequest, WalletAmountTooLarge
from domain.event import Topic
from domain.gateway import Operation
from domain.ledger import SALES, available, gateway, held, totals
from domain.money import MAX_MINOR_UNITS
from domain.payment import (
    FINAL,
    FailedPayment,
    Method,
    PayableType,
    PaymentRequest,
    PaymentStatus,
    StockLine,
    capture_transactions,
    completed_events,
    failed_events,
    split,
)
from tests.support.samples import a_payment

AMOUNTS = st.integers(0, MAX_MINOR_UNITS)
PAYMENTS = st.builds(
    a_payment,
    AMOUNTS,
    AMOUNTS,
    currency=st.sampled_from(["KRW", "USD", "KWD"]),
    payable_type=st.sampled_from(PayableType),
)


@given(AMOUNTS, st.data())
def test_a_split_loses_no_unit(amount: int, data: st.DataObject) -> None:
    wallet_amount = data.draw(st.integers(0, amount))

    assert split(Method.SPLIT, amount, wallet_amount) == (wallet_amount, amount - wallet_amount)
    assert split(Method.CARD, amount, None) == (0, amount)
    assert split(Method.WALLET, amount, None) == (amount, 0)


@given(AMOUNTS, st.integers(min_value=1))
def test_a_wallet_part_above_what_is_payable_is_refused(amount: int, more: int) -> None:
    with pytest.raises(WalletAmountTooLarge, match=f"only {amount} is payable"):
        split(Method.SPLIT, amount, amount + more)


@pytest.mark.parametrize("method", [Method.CARD, Method.WALLET])
def test_a_wallet_part_goes_with_a_split_only(method: Method) -> None:
    with pytest.raises(InvalidRequest, match="SPLIT only"):
        split(method, 1000, 0)


def test_a_split_says_its_wallet_part() -> None:
    with pytest.raises(InvalidRequest, match="needs a walletAmount"):
        split(Method.SPLIT, 1000, None)


@given(PAYMENTS)
def test_a_capture_balances_and_books_the_whole_payment(payment: PaymentRequest) -> None:
    assume(payment.money > 0)
    written = capture_transactions(payment)[0]
    booked: Counter[str] = Counter()
    for posting in written.postings:
        booked[posting.account] += posting.amount

    assert not any(totals(written.postings).values())
    assert {posting.unit for posting in written.postings} == {payment.currency}
    to_wallet = payment.payable_type is PayableType.TOP_UP
    assert booked[available(payment.customer_id) if to_wallet else SALES] == payment.money
    assert booked[held(payment.customer_id)] == -payment.wallet_amount
    assert booked[gateway("simulator")] == -payment.card_amount
    assert written.payment_id == payment.payment_id


@given(PAYMENTS)
def test_a_completed_payment_is_told_once_and_its_order_too(payment: PaymentRequest) -> None:
    first, *rest = completed_events(payment, "pay_1", [])

    assert (first.topic, first.aggregate_id) == (Topic.PAYMENT_COMPLETED, payment.payment_id)
    assert first.data["amount"] == payment.wallet_amount + payment.card_amount
    assert first.data["gatewayReference"] == "pay_1"
    expected = []
    if payment.payable_type is PayableType.ORDER:
        expected = [(Topic.ORDER_COMPLETED, payment.payable_id)]
    assert [(event.topic, event.aggregate_id) for event in rest] == expected
    assert {event.customer_id for event in (first, *rest)} == {payment.customer_id}
    assert {event.origin for event in (first, *rest)} == {payment.origin}


@pytest.mark.parametrize("status", [PaymentStatus.FAILED, PaymentStatus.CANCELLED])
def test_a_failed_payment_says_how_it_ended_and_why(status: PaymentStatus) -> None:
    payment = a_payment(100, 200)

    paid, ordered = failed_events(FailedPayment(payment, status, "declined", "No."))

    assert (paid.topic, paid.data["status"]) == (Topic.PAYMENT_FAILED, status.value)
    assert (ordered.topic, ordered.aggregate_id) == (Topic.ORDER_FAILED, payment.payable_id)
    assert paid.data["failureCode"] == ordered.data["failureCode"] == "declined"


def test_a_status_is_final_or_somebody_still_works_on_it() -> None:
    working = {PaymentStatus.PENDING, PaymentStatus.UNKNOWN, PaymentStatus.NEEDS_REVIEW}

    assert set(PaymentStatus) == FINAL | working
    assert not FINAL & working


def test_a_charge_asks_the_gateway_for_the_card_part_only() -> None:
    payment = a_payment(wallet_amount=700, card_amount=300)

    charge = payment.gateway_request(Operation.CHARGE)

    assert (charge.amount, charge.currency) == (300, "KRW")
    assert charge.payment_id == charge.reference_id == payment.payment_id


@pytest.mark.parametrize(
    ("wallet", "more", "at_once"),
    [
        (0, {}, False),
        (400, {}, False),
        (0, {"stock": (StockLine("SKU-1", 1),)}, False),
        (0, {"coupon_code": "TEN"}, True),
        (400, {"points_amount": 100}, True),
        (400, {"stock": (StockLine("SKU-1", 1),)}, True),
        (400, {"stock": (StockLine("SKU-1", 1),), "two_calls": True}, False),
    ],
)
def test_several_steps_with_no_call_in_between_are_done_at_once(
    wallet: int, more: dict[str, Any], at_once: bool
) -> None:
    assert replace(a_payment(wallet, 900), **more).at_once is at_once
