"""What a quota leaves, and when it may be asked again."""

from hypothesis import given
from hypothesis import strategies as st

from domain.quota import LARGEST_LEASE, Quota, Windows

QUOTA = Quota("caller", 600)


def later(windows: Windows, seconds: float, quota: Quota) -> Windows:
    """The same after a while in which nothing was taken, as the counter itself moves on."""
    before, before_left = windows.before, windows.before_left - seconds
    present, present_left = windows.present, windows.present_left - seconds
    while present_left < quota.seconds:
        before, before_left = present, present_left
        present, present_left = 0, present_left + quota.seconds
    return Windows(before, max(0.0, before_left), present, present_left)


windows = st.builds(
    lambda before, present, gone: Windows(before, 60 - gone, present, 120 - gone),
    before=st.integers(0, 600),
    present=st.integers(0, 600),
    gone=st.floats(0, 60),
)


@given(windows, st.integers(1, 600))
def test_whoever_waits_as_long_as_it_was_told_is_let_in(at_first: Windows, cost: int) -> None:
    # The counter rounds down what still counts, and milliseconds: one unit and a little time.
    wait = at_first.wait(QUOTA, cost) + 0.001

    assert later(at_first, wait, QUOTA).remaining(QUOTA) >= cost


@given(windows, st.integers(1, 600))
def test_nobody_is_told_to_wait_for_what_is_there(at_first: Windows, cost: int) -> None:
    if at_first.remaining(QUOTA) > cost:
        assert at_first.wait(QUOTA, cost) == 0
    else:
        assert at_first.wait(QUOTA, cost) <= 2 * QUOTA.seconds


def test_a_lease_grows_while_it_is_used_up_and_has_a_bound() -> None:
    sizes = [1]
    for _ in range(6):
        sizes.append(QUOTA.next_lease(sizes[-1], cost=1))

    assert sizes == [1, 2, 4, 8, 12, 12, 12]
    assert sizes[-1] * LARGEST_LEASE == QUOTA.units


def test_of_a_small_quota_nothing_is_taken_in_advance() -> None:
    assert Quota("login", 10).next_lease(before=1, cost=1) == 1


def test_what_costs_more_than_a_lease_is_taken_whole() -> None:
    assert Quota("caller", 100).next_lease(before=1, cost=10) == 10
