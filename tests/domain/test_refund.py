"""Refunds: never more than the capture, the card first, and always back to where it came from."""

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import RefundExceedsCapture
from domain.event import Topic
from domain.funding import by_kind, worth
from domain.ledger import SALES, Transaction, available, gateway, held, totals
from domain.money import MAX_MINOR_UNITS
from domain.payment import capture_transactions
from domain.points import REDEEMED, UNIT
from domain.refund import (
    LATE_CAPTURE,
    completed_event,
    late_capture_transaction,
    of_late_capture,
    refund_transaction,
    split,
)
from tests.support.samples import a_payment, a_refund

PARTS = st.integers(0, MAX_MINOR_UNITS)


def sums(*written: Transaction) -> Counter[tuple[str, str]]:
    """What was booked on each account, in each unit."""
    booked: Counter[tuple[str, str]] = Counter()
    for transaction in written:
        for posting in transaction.postings:
            booked[posting.account, posting.unit] += posting.amount
    return booked


@given(PARTS, PARTS, PARTS)
def test_a_refund_of_all_that_is_left_gives_back_all_of_it(
    wallet: int, card: int, points: int
) -> None:
    left = a_payment(wallet, card, points_amount=points).parts

    whole = split(left, worth(left), "KRW")

    assert by_kind(whole) == by_kind(left)


@given(PARTS, PARTS, PARTS, st.integers(1, MAX_MINOR_UNITS))
def test_more_than_is_left_is_not_refunded(wallet: int, card: int, points: int, more: int) -> None:
    left = a_payment(wallet, card, points_amount=points).parts

    with pytest.raises(RefundExceedsCapture):
        split(left, worth(left) + more, "KRW")


def test_a_refund_of_too_much_says_what_is_left() -> None:
    left = a_payment(wallet_amount=400, currency="USD").parts

    with pytest.raises(RefundExceedsCapture, match=r"5\.00 USD is more than the 4\.00 USD"):
        split(left, 500, "USD")


@given(PARTS, PARTS, PARTS)
def test_a_refund_balances_and_goes_back_where_it_came_from(
    card: int, wallet: int, points: int
) -> None:
    assume(card + wallet + points > 0)
    payment = a_payment(wallet, card, points_amount=points)
    refund = a_refund(payment, card, wallet, points_amount=points)
    written = refund_transaction(refund)
    booked = sums(written)
    home = available(refund.customer_id)

    assert not any(totals(written.postings).values())
    assert booked[SALES, "KRW"] == -(card + wallet)
    assert booked[gateway("simulator"), "KRW"] == card
    assert booked[home, "KRW"] == wallet
    assert booked[home, UNIT] == -booked[REDEEMED, UNIT] == points
    assert written.payment_id == refund.payment_id


@given(PARTS, PARTS, PARTS)
def test_a_capture_and_the_refund_of_all_of_it_leave_only_what_was_held(
    wallet: int, card: int, points: int
) -> None:
    payment = a_payment(wallet, card, points_amount=points)
    assume(payment.parts)
    captured = [each for each in capture_transactions(payment) if each.kind != "earn"]

    left = sums(
        *captured, refund_transaction(a_refund(payment, card, wallet, points_amount=points))
    )

    holder = payment.customer_id
    moved = Counter({(available(holder), "KRW"): wallet, (available(holder), UNIT): points})
    moved.subtract({(held(holder), "KRW"): wallet, (held(holder), UNIT): points})
    assert {key: sum_ for key, sum_ in left.items() if sum_} == {
        key: sum_ for key, sum_ in moved.items() if sum_
    }


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

    assert not any(sums(captured, refunded).values())


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
