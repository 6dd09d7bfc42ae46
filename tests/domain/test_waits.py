"""How long an unknown outcome is pursued."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.waits import Ladder, Waits

SHORTEST_KEY_WINDOW = timedelta(hours=3)
WAITS = Waits()


@given(st.floats(1, 1000))
def test_scaled_waits_keep_their_proportions(factor: float) -> None:
    scaled = WAITS.scaled(factor)

    pairs = [
        (WAITS.resend_window, scaled.resend_window),
        (WAITS.not_found_after, scaled.not_found_after),
        (WAITS.not_found_apart, scaled.not_found_apart),
        (WAITS.key_window, scaled.key_window),
        *zip(WAITS.ladder, scaled.ladder, strict=True),
    ]
    for original, shorter in pairs:
        assert abs(original / factor - shorter) <= timedelta(microseconds=1)
    assert scaled.read_timeout == WAITS.read_timeout, "one call takes as long as it takes"


def test_nothing_is_sent_again_after_any_gateway_may_have_forgotten_the_key() -> None:
    assert WAITS.resend_window < SHORTEST_KEY_WINDOW


def test_the_ladder_only_climbs_and_its_last_step_repeats() -> None:
    assert list(WAITS.ladder) == sorted(WAITS.ladder)
    assert [WAITS.step(tries) for tries in range(9)] == list(WAITS.ladder)
    assert WAITS.step(9) == WAITS.step(1_000) == timedelta(hours=24)


def test_not_found_counts_only_when_nothing_can_still_be_under_way() -> None:
    assert not WAITS.not_found_counts(timedelta(minutes=9, seconds=59))
    assert WAITS.not_found_counts(timedelta(minutes=10))

    patient = Waits(read_timeout=timedelta(minutes=12))
    assert not patient.not_found_counts(timedelta(minutes=11))
    assert patient.not_found_counts(timedelta(minutes=12))


def test_a_hint_within_a_step_leaves_the_rest_of_it() -> None:
    ladder, now = Ladder(WAITS), datetime(2026, 5, 1, tzinfo=UTC)

    for step in WAITS.ladder:
        assert not ladder.is_over(now)
        assert ladder.left(now) == step
        assert ladder.left(now + step / 2) == step / 2
        assert not ladder.is_over(now + step / 2)
        now += step

    assert ladder.is_over(now)
    assert ladder.left(now) == WAITS.ladder[-1], "who watches goes on"
