"""A hold and its release are each other's opposite."""

from hypothesis import given
from hypothesis import strategies as st

from domain.ledger import totals
from domain.wallet import Hold


@given(amount=st.integers(1, 10**12), unit=st.sampled_from(["KRW", "USD", "POINT"]))
def test_what_is_taken_and_released_sums_to_nothing(amount: int, unit: str) -> None:
    hold = Hold("p-1", "c-1", unit, amount)
    taken, released = hold.taken(), hold.released()

    both = (*taken.postings, *released.postings)
    for account in {posting.account for posting in both}:
        assert not any(totals(p for p in both if p.account == account).values())
    assert taken.key != released.key


def test_money_and_points_of_one_payment_are_two_facts() -> None:
    money, points = (Hold("p-1", "c-1", unit, 5) for unit in ("KRW", "POINT"))

    assert len({hold.taken().key for hold in (money, points)}) == 2
