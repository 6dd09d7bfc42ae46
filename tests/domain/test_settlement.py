"""What is looked at before an invoice is issued."""

from decimal import Decimal
from typing import Any

import pytest

from domain.settlement import (
    ApprovalPolicy,
    QualityCheck,
    Trend,
    blocked,
    needs_approval,
    quality_checks,
)

POLICY = ApprovalPolicy(thresholds={"KRW": 1000})


def checks(quantity: str = "10", mean: str | None = "10", **more: Any) -> list[QualityCheck]:
    trend = Trend("API_CALL", Decimal(quantity), None if mean is None else Decimal(mean))
    given: dict[str, Any] = {
        "amounts": [600, 400],
        "total": 1000,
        "recomputed": 1000,
        "unpriced": [],
        "doubts": [],
        "late": [],
        "rejected": [],
    }
    return quality_checks(**{"trends": [trend], "policy": POLICY, **given, **more})


def test_an_ordinary_month_leaves_by_itself() -> None:
    assert blocked(checks()) is None
    assert needs_approval("KRW", 1000, checks(), POLICY) is None


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"amounts": [1400, -400]}, "non-negative"),
        ({"amounts": [600]}, "lines-add-up"),
        ({"recomputed": 999}, "snapshot-recomputes"),
        ({"unpriced": ["EGRESS of 2026-05"]}, "everything-priced"),
    ],
)
def test_what_must_not_leave(more: dict[str, Any], name: str) -> None:
    reason = blocked(checks(**more))

    assert reason is not None
    assert name in reason


def test_above_the_threshold_of_its_currency_a_person_looks() -> None:
    assert needs_approval("KRW", 1001, checks(), POLICY) is not None
    assert needs_approval("KWD", 1, checks(), POLICY) is not None, "nobody said how much"
    assert needs_approval("KWD", 0, checks(), POLICY) is None


@pytest.mark.parametrize(
    ("quantity", "mean", "asked"),
    [
        ("50", "10", False),
        ("51", "10", True),
        ("2", "10", False),
        ("1.9", "10", True),
        ("1000", None, False),
        ("1000", "0", False),
    ],
)
def test_usage_unlike_the_months_before_is_looked_at(
    quantity: str, mean: str | None, asked: bool
) -> None:
    found = checks(quantity, mean)

    assert blocked(found) is None
    assert (needs_approval("KRW", 1000, found, POLICY) is not None) is asked


def test_quantities_are_told_without_the_zeros_of_their_columns() -> None:
    found = checks("51.500000", "10.0000000000")

    asked = needs_approval("KRW", 1000, found, POLICY)

    assert asked == "usual (51.5 of API_CALL against a mean of 10)"


def test_whoever_decides_is_told_everything_that_speaks_against_it() -> None:
    found = checks("51", rejected=["2026-04"])

    asked = needs_approval("KRW", 1001, found, POLICY)

    assert asked == (
        "the total 1,001 KRW is above 1,000 KRW; "
        "not-rejected-before (usage of 2026-04, whose draft was rejected or whose invoice was "
        "cancelled); usual (51 of API_CALL against a mean of 10)"
    )


def test_what_a_person_rejected_comes_back_to_a_person() -> None:
    found = checks(rejected=["2026-04"])

    assert blocked(found) is None
    asked = needs_approval("KRW", 1000, found, POLICY)
    assert asked == (
        "not-rejected-before (usage of 2026-04, whose draft was rejected or whose invoice was "
        "cancelled)"
    )


def test_what_cannot_be_compared_is_for_a_person() -> None:
    found = checks(doubts=["late usage of 2026-04, whose minimum was billed in USD"])

    assert blocked(found) is None
    asked = needs_approval("KRW", 1000, found, POLICY)
    assert asked == "comparable (late usage of 2026-04, whose minimum was billed in USD)"


def test_a_check_that_passed_says_so() -> None:
    details = {check.name: check.detail for check in checks()}

    assert details["everything-priced"] == "everything has a price"


@pytest.mark.parametrize(("quantity", "asked"), [("1", False), ("50", False), ("51", True)])
def test_late_usage_is_a_part_of_its_month_so_it_is_never_too_little(
    quantity: str, asked: bool
) -> None:
    late = Trend("API_CALL", Decimal(quantity), Decimal(10), late=True)

    found = checks(trends=[late])

    assert (needs_approval("KRW", 1000, found, POLICY) is not None) is asked


def test_late_usage_is_named_and_stops_nothing() -> None:
    found = checks(late=["API_CALL of 2026-04"])

    assert blocked(found) is None
    [late] = [check for check in found if check.name == "no-late-usage"]
    assert (late.passed, late.detail) == (False, "API_CALL of 2026-04")
