"""A hold and its release are each other's opposite."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BalanceTooLarge
from domain.ledger import totals
from domain.money import MAX_BALANCE
from domain.wallet import Hold, check_room


@given(amount=st.integers(1, 10**12), unit=st.sampled_from(["KRW", "USD", "POINT"]))
def test_what_is_taken_and_released_sums_to_nothing(amount: int, unit: str) -> None:
    hold = Hold("p-1", "c-1", unit, amount)
    taken, released = hold.taken(), hold.released()

    both = (*taken.postings, *released.postings)
    for account in {posting.account for posting in both}:
        assert not any(totals(p for p in both if p.account == account).values())
    assert taken.key != released.key


@given(st.integers(1, 10**12))
def test_a_wallet_has_room_up_to_its_bound(more: int) -> None:
    check_room(MAX_BALANCE - more, more, "KRW")

    with pytest.raises(BalanceTooLarge, match=f"{MAX_BALANCE - more + 1:,} KRW"):
        check_room(MAX_BALANCE - more + 1, more, "KRW")


def test_money_and_points_of_one_payment_are_two_facts() -> None:
    money, points = (Hold("p-1", "c-1", unit, 5) for unit in ("KRW", "POINT"))

    assert len({hold.taken().key for hold in (money, points)}) == 2
