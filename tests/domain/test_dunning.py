"""When an invoice is charged again, and where it stands."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from domain.dunning import DunningPolicy, Ladder

BEGAN = datetime(2026, 6, 1, tzinfo=UTC)
PAUSES = st.timedeltas(timedelta(0), timedelta(days=10))
POLICIES = st.lists(
    st.timedeltas(timedelta(seconds=1), timedelta(days=5)), min_size=1, max_size=6
).map(lambda steps: DunningPolicy(tuple(accumulate(steps))))


@dataclass(frozen=True)
class Climbed:
    """A ladder some charges later: when each was made, and when the last of them failed."""

    ladder: Ladder
    charges: tuple[datetime, ...]
    now: datetime


@st.composite
def climbed(draw: st.DrawFn) -> Climbed:
    """Charges of any length; some are asked for by a person before their time."""
    ladder, now, charges = Ladder(draw(POLICIES)), BEGAN, [BEGAN]
    for takes, early in draw(st.lists(st.tuples(PAUSES, st.booleans()), max_size=12)):
        now += takes
        ladder = ladder.after_charge(now).after_failure(now)
        if ladder.next_at is None:
            break
        now = now if early else ladder.next_at
        ladder = ladder.after_wait(now)
        charges.append(now)
    return Climbed(ladder, tuple(charges), now)


def test_it_is_charged_again_after_one_three_five_and_seven_days() -> None:
    ladder, after = Ladder(DunningPolicy()).after_failure(BEGAN), []
    while ladder.next_at is not None:
        after.append((ladder.next_at - BEGAN).days)
        ladder = ladder.after_wait(ladder.next_at).after_failure(ladder.next_at)

    assert after == [1, 3, 5, 7]
    assert ladder.ended


def test_a_charge_of_two_days_moves_the_steps_behind_it() -> None:
    ladder = Ladder(DunningPolicy()).after_failure(BEGAN)
    third_day = BEGAN + timedelta(days=3)

    late = ladder.after_wait(BEGAN + timedelta(days=1)).after_charge(third_day)

    assert late.next_at == third_day + timedelta(days=2)
    assert late.after_charge(third_day) == late


@given(climbed())
def test_what_is_noted_reads_back_as_it_stood(found: Climbed) -> None:
    ladder = found.ladder
    assert ladder == Ladder.noted(
        ladder.policy,
        ladder.step,
        ladder.next_at,
        last_attempt_at=None,
        first_failure_at=ladder.failed_at,
    )


@given(climbed(), PAUSES)
def test_a_step_that_was_taken_and_not_noted_is_counted(found: Climbed, later: timedelta) -> None:
    ladder = found.ladder
    if ladder.next_at is None:
        return
    attempt = ladder.next_at + later
    read = Ladder.noted(ladder.policy, ladder.step, ladder.next_at, attempt, ladder.failed_at)

    assert read == ladder.after_wait(attempt)
    assert read.step == ladder.step + 1


@given(climbed(), PAUSES)
def test_a_charge_before_its_time_takes_no_step(found: Climbed, earlier: timedelta) -> None:
    ladder = found.ladder
    if ladder.next_at is None:
        return
    attempt = ladder.next_at - timedelta(microseconds=1) - earlier
    read = Ladder.noted(ladder.policy, ladder.step, ladder.next_at, attempt, ladder.failed_at)

    assert read == ladder == ladder.after_wait(attempt)


@given(climbed(), PAUSES)
def test_the_next_charge_is_never_due_when_one_has_just_failed(
    found: Climbed, takes: timedelta
) -> None:
    failed_at = found.now + takes
    ladder = found.ladder.after_charge(failed_at).after_failure(failed_at)

    assert ladder.ended or (ladder.next_at is not None and ladder.next_at > failed_at)


@given(climbed())
def test_it_is_charged_once_a_step_and_when_a_person_asks(found: Climbed) -> None:
    assert found.ladder.step <= len(found.ladder.policy.ladder)
    assert found.ladder.step <= len(found.charges) - 1


@given(POLICIES)
def test_what_was_given_up_has_no_next_charge(policy: DunningPolicy) -> None:
    ladder = Ladder(policy).after_failure(BEGAN).at_its_end()

    assert ladder.ended
    assert ladder.next_at is None
    assert ladder.after_wait(BEGAN) == ladder.after_charge(BEGAN) == ladder
