"""Refunds: never more than the capture, the card first, and always back to where it came from."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import RefundExceedsCapture
from domain.event import Topic
from domain.ledger import LATE_CAPTURES, SALES, available, gateway, totals
from domain.money import MAX_MINOR_UNITS
from domain.refund import (
    LATE_CAPTURE,
    Refundable,
    completed_event,
    late_capture_transaction,
    of_late_capture,
    refund_transaction,
    split,
)
from tests.samples import a_payment, a_refund

PARTS = st.integers(0, MAX_MINOR_UNITS)


@given(PARTS, PARTS, st.data())
def test_partial_refunds_in_any_sequence_give_back_the_capture_and_no_more(
    card: int, wallet: int, data: st.DataObject
) -> None:
    left = Refundable("KRW", card, wallet, 0, 0)
    refunded = 0
    for _ in range(data.draw(st.integers(0, 6))):
        if not left.left:
            break
        amount = data.draw(st.integers(1, left.left))
        parts = split(left, amount)
        card_part, wallet_part = parts.card, parts.wallet

        assert card_part >= 0
        assert wallet_part >= 0
        assert card_part + wallet_part == amount
        assert wallet_part == 0 or left.card_refunded + card_part == card, "the card comes first"
        left = replace(
            left,
            card_refunded=left.card_refunded + card_part,
            wallet_refunded=left.wallet_refunded + wallet_part,
        )
        refunded += amount
        assert left.left == card + wallet - refunded

    with pytest.raises(RefundExceedsCapture):
        split(left, left.left + 1)
    if left.left:
        whole = split(left, left.left)
        assert whole.card + whole.wallet + whole.points == left.left


def test_a_refund_of_too_much_says_what_is_left() -> None:
    refundable = Refundable("USD", 1_000, 500, card_refunded=1_000, wallet_refunded=100)

    with pytest.raises(RefundExceedsCapture, match=r"5\.00 USD is more than the 4\.00 USD"):
        split(refundable, 500)


@given(PARTS, PARTS, st.booleans())
def test_a_refund_balances_and_goes_back_where_it_came_from(
    card: int, wallet: int, late: bool
) -> None:
    assume(card + wallet > 0)
    refund = a_refund(a_payment(wallet, card), card, wallet, late_capture=late)
    written = refund_transaction(refund)
    booked = {
        account: sum(each.amount for each in written.postings if each.account == account)
        for account in {each.account for each in written.postings}
    }

    assert not any(totals(written.postings).values())
    assert booked[LATE_CAPTURES if late else SALES] == -(card + wallet)
    assert booked.get(gateway("simulator"), 0) == card
    assert booked.get(available(refund.customer_id), 0) == wallet
    assert written.payment_id == refund.payment_id


def test_a_late_capture_is_refunded_once_whoever_finds_it() -> None:
    payment = a_payment(wallet_amount=300, card_amount=700)

    found, again = of_late_capture(payment), of_late_capture(payment)

    assert found == again
    assert (found.card_amount, found.wallet_amount) == (700, 0), "the wallet hold was given back"
    assert found.reason == LATE_CAPTURE


@given(st.integers(1, MAX_MINOR_UNITS))
def test_a_late_capture_and_its_refund_leave_nothing_in_suspense(card: int) -> None:
    payment = a_payment(card_amount=card)
    captured = late_capture_transaction(payment)
    refunded = refund_transaction(of_late_capture(payment))

    left = {
        account: sum(
            each.amount
            for each in (*captured.postings, *refunded.postings)
            if each.account == account
        )
        for account in (LATE_CAPTURES, gateway("simulator"))
    }
    assert left == {LATE_CAPTURES: 0, gateway("simulator"): 0}


def test_a_refund_is_told_on_the_line_of_its_payment() -> None:
    payment = a_payment(wallet_amount=300, card_amount=700)
    refund = a_refund(payment, 700, 100)

    event = completed_event(refund)

    assert (event.topic, event.aggregate_id) == (Topic.REFUND_COMPLETED, payment.payment_id)
    assert (event.data["amount"], event.data["cardAmount"], event.data["walletAmount"]) == (
        800,
        700,
        100,
    )


def test_two_refunds_of_one_payment_have_keys_of_their_own() -> None:
    payment = a_payment(card_amount=1000)
    requests = [a_refund(payment, 400, 0).gateway_refund() for _ in range(2)]

    assert len({request.idempotency_key for request in requests}) == 2
    assert {request.payment_id for request in requests} == {payment.payment_id}
