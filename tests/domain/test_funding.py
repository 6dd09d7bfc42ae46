"""Parts of a payment: they add up, and refunds in any sequence give back every one of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.funding import GIVEN_BACK, Funded, Kind, Part, by_kind, first, less, worth
from domain.money import MAX_MINOR_UNITS
from domain.payment import PaymentRequest
from domain.wallet import Hold
from tests.support.samples import a_payment, a_refund

AMOUNTS = st.integers(0, MAX_MINOR_UNITS) | st.just(0)
PAYMENTS = st.builds(a_payment, AMOUNTS, AMOUNTS, points_amount=AMOUNTS)


def shown(parts: tuple[Part, ...]) -> list[str]:
    return [str(part) for part in parts]


@given(PAYMENTS)
def test_the_parts_are_the_amounts_and_no_unit_more(payment: PaymentRequest) -> None:
    amounts = {kind: getattr(payment, f"{kind}_amount") for kind in Kind}

    assert by_kind(payment.parts) == amounts
    assert len(payment.parts) == sum(1 for amount in amounts.values() if amount)
    assert payment.worth == sum(amounts.values())
    assert payment.money == payment.wallet_amount + payment.card_amount


def test_parts_are_set_aside_in_the_order_of_their_kinds() -> None:
    payment = a_payment(300, 700, points_amount=50)

    assert [part.kind for part in payment.parts] == list(Kind)
    assert [part.kind for part in payment.ours] == [Kind.WALLET, Kind.POINTS]


@given(PAYMENTS, st.data())
def test_refunds_in_any_sequence_give_back_every_part_and_no_more(
    payment: PaymentRequest, data: st.DataObject
) -> None:
    left, refunded = payment.parts, dict.fromkeys(Kind, 0)
    shares = data.draw(st.lists(st.integers(1, 3 * MAX_MINOR_UNITS), max_size=5))
    for share in [*shares, 3 * MAX_MINOR_UNITS]:
        amount = min(share, worth(left))
        given_back = first(left, amount)

        assert worth(given_back) == amount
        assert all(part.amount > 0 for part in given_back)
        taken = by_kind(given_back)
        refunded = {kind: refunded[kind] + taken[kind] for kind in Kind}
        left = less(left, taken)
        assert all(part.amount > 0 for part in left)
        begun = max((GIVEN_BACK.index(part.kind) for part in given_back), default=0)
        assert all(GIVEN_BACK.index(part.kind) >= begun for part in left), "one after the other"
        assert less(payment.parts, refunded) == left

    assert left == ()
    assert refunded == by_kind(payment.parts)


@given(PAYMENTS, st.integers(0))
def test_no_more_is_given_back_than_there_is(payment: PaymentRequest, more: int) -> None:
    assert by_kind(first(payment.parts, payment.worth + more)) == by_kind(payment.parts)


def test_the_card_is_refunded_first_then_the_wallet_and_points_last() -> None:
    payment = a_payment(300, 700, points_amount=50, customer_id="c-1", currency="USD")

    assert shown(first(payment.parts, 1_020)) == [
        "7.00 USD by card",
        "3.00 USD of wallet c-1",
        "20 points of c-1",
    ]
    assert shown(first(payment.parts, 701)) == ["7.00 USD by card", "0.01 USD of wallet c-1"]


def test_every_kind_has_its_turn_in_a_refund() -> None:
    assert sorted(GIVEN_BACK) == sorted(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_can_be_named_and_booked(kind: Kind) -> None:
    part = Part(kind, "KRW", 1_234, "somebody")

    assert {"1,234", "1234"} & set(str(part).split())
    assert len({part.home, part.spent_on}) == 2


@pytest.mark.parametrize("of", [a_payment(1, 1, points_amount=1), a_refund(a_payment(), 1, 1)])
def test_a_hold_moves_a_part_from_its_home_to_its_source(of: Funded) -> None:
    """So that what a payment takes is what its hold has set aside."""
    for part in of.ours:
        hold = Hold("p-1", part.holder, part.unit, part.amount)
        moved = {posting.account: posting.amount for posting in hold.taken().postings}

        assert part.in_wallet
        assert moved == {part.home: -part.amount, part.source: part.amount}


def test_what_lies_with_the_gateway_is_in_no_wallet() -> None:
    [part] = a_payment(card_amount=700).parts

    assert not part.in_wallet
    assert part.source == part.home == "gateway:simulator"
