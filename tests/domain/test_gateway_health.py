"""How a PG does, as far as workers have said so."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.gateway_health import (
    BreakerState,
    Health,
    Kind,
    Queue,
    Reported,
    Standing,
    Waiting,
    seen,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CLOSED, HALF_OPEN, OPEN, UNKNOWN = (
    BreakerState.CLOSED,
    BreakerState.HALF_OPEN,
    BreakerState.OPEN,
    BreakerState.UNKNOWN,
)


def standing(*told: Health) -> Standing:
    workers = [seen(Reported(str(at), each, 0), NOW) for at, each in enumerate(told)]
    return Standing("pg", workers, Queue())


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ((), UNKNOWN),
        ((CLOSED,), CLOSED),
        ((CLOSED, CLOSED), CLOSED),
        ((CLOSED, HALF_OPEN), HALF_OPEN),
        ((HALF_OPEN, OPEN, CLOSED), OPEN),
    ],
)
def test_the_worst_counts_and_nobody_is_not_closed(
    told: tuple[BreakerState, ...], state: BreakerState
) -> None:
    assert standing(*map(Health, told)).state is state


def test_what_is_told_in_lengths_becomes_moments_when_it_was_told() -> None:
    health = Health(OPEN, unwell_for=60, retried_in=8, failing_for=90)

    told = seen(Reported("a worker", health, age=3), NOW)

    at = NOW - timedelta(seconds=3)
    assert told.reported_at == at
    assert told.since == at - timedelta(seconds=60)
    assert told.retried_at == at + timedelta(seconds=8)
    assert told.failing_since == at - timedelta(seconds=90)


def test_of_several_workers_the_first_that_noticed_and_the_first_that_tries_again_count() -> None:
    found = standing(
        Health(OPEN, unwell_for=10, retried_in=9, failing_for=20),
        Health(OPEN, unwell_for=30, retried_in=5),
        Health(CLOSED),
    )

    assert found.since == NOW - timedelta(seconds=30)
    assert found.retried_at == NOW + timedelta(seconds=5)
    assert found.failing_since == NOW - timedelta(seconds=20)


def test_each_is_hinted_where_its_workflow_is() -> None:
    assert Waiting(Kind.PAYMENT, "1").workflow_id == "payment/1"
    assert Waiting(Kind.WATCH, "1").workflow_id == "payment/1"
    assert Waiting(Kind.REFUND, "1").workflow_id == "refund/1"
