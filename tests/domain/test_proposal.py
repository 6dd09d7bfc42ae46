"""What one person may decide alone, and what a call comes to where two must."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from domain.customer import Agreement
from domain.pricing import Plan
from domain.proposal import (
    ASKS,
    HANDED_OVER,
    Decision,
    Kind,
    Proposal,
    ProposalStatus,
    SecondPerson,
    Step,
    step,
    written,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BOTH = ("dev/one", "dev/two")
PLAN = Plan("P", 0, "KRW", (), 5_000, 0)


def proposal(
    kind: Kind = Kind.APPROVAL,
    status: str = "PROPOSED",
    holds_until: datetime = NOW + timedelta(days=6),
) -> Proposal:
    return Proposal(
        id="019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11",
        kind=kind,
        target_id="1",
        what="write off the invoice of 10 KRW of acme-corp",
        content={},
        status=ProposalStatus(status),
        reason="bankrupt",
        proposed_by=BOTH[0],
        proposed_at=NOW - timedelta(days=1),
        holds_until=holds_until,
    )


def test_one_proposes_and_another_carries_out() -> None:
    for kind in Kind:
        assert step(None, BOTH[0], NOW) is Step.PROPOSE
        assert step(proposal(kind), BOTH[0], NOW) is Step.WAIT
        assert step(proposal(kind), BOTH[1], NOW) is Step.SECOND


@pytest.mark.parametrize(("kind", "caller"), [*product(Kind, BOTH)])
def test_what_has_ended_is_proposed_anew_by_whoever_asks(kind: Kind, caller: str) -> None:
    assert step(proposal(kind, holds_until=NOW), caller, NOW) is Step.PROPOSE
    assert step(proposal(kind, "WITHDRAWN"), caller, NOW) is Step.PROPOSE
    assert step(proposal(kind, "SECONDED", NOW), caller, NOW) is Step.PROPOSE


@pytest.mark.parametrize(("kind", "caller"), [*product(Kind, (*BOTH, "dev/three"))])
def test_what_two_have_agreed_to_goes_on_only_where_a_workflow_carries_it_out(
    kind: Kind, caller: str
) -> None:
    """A price that was changed back is changed again by two."""
    wanted = Step.GO_ON if kind in HANDED_OVER else Step.PROPOSE

    assert step(proposal(kind, "SECONDED"), caller, NOW) is wanted


def test_the_content_decides_whether_two_want_the_same() -> None:
    one = Decision(Kind.PLAN_VERSION, "P", "in words", {"flatFee": 1, "minimum": 2})

    assert replace(one, content={"minimum": 2, "flatFee": 1}).digest == one.digest
    assert replace(one, what="in other words").digest == one.digest
    others = [
        replace(one, content={"flatFee": 2, "minimum": 2}),
        replace(one, content={"flatFee": "1", "minimum": 2}),
        replace(one, target_id="Q"),
        replace(one, kind=Kind.PLAN_WITHDRAWAL),
    ]
    assert len({each.digest for each in [one, *others]}) == 1 + len(others)


def test_the_limit_itself_is_what_one_person_may() -> None:
    most = SecondPerson(replays=1_000, prices=2)

    assert most.replay("2026-05", 1_000) is None
    assert most.replay("2026-05", 1_001) is not None
    assert most.plan_version(PLAN, None, 2) is None
    assert most.plan_version(PLAN, None, 3) is not None
    assert most.plan_withdrawal("P", 2) is None
    assert most.plan_withdrawal("P", 3) is not None


def test_how_many_months_failed_may_change_until_the_second_call() -> None:
    one, other = (SecondPerson().replay("2026-05", failed) for failed in (1_001, 4_000))

    assert one is not None
    assert other is not None
    assert one.digest == other.digest
    named = SecondPerson().replay("2026-05", 1_001, ["b", "a"])
    assert named is not None
    assert named.digest != one.digest


def test_a_first_plan_changes_no_price_and_another_one_does() -> None:
    to_b = Agreement(plan_code="B")

    assert SecondPerson().plan_assignment("c", None, to_b) is None
    assert SecondPerson().plan_assignment("c", "B", to_b) is None
    assert SecondPerson().plan_assignment("c", "A", Agreement(prepaid=True)) is None
    assert SecondPerson(prices=1).plan_assignment("c", "A", to_b) is None
    assert SecondPerson().plan_assignment("c", "A", to_b) is not None


def test_every_kind_needs_an_action_and_is_told_whole() -> None:
    assert set(ASKS) == set(Kind)
    told = written(proposal())
    assert told["proposedBy"] == BOTH[0]
    assert told["holdsUntil"] == "2026-06-07T00:00:00+00:00"
    assert "2026-06-07 00:00 UTC" in proposal().words
