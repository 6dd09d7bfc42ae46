"""Versions and clocks, judged."""

from datetime import timedelta

import pytest

from domain.finding import BELIEVED, TELLS, Verdict, clock, numbers, version


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ("16", Verdict.OK),
        ("16.4", Verdict.OK),
        ("18beta1", Verdict.OK),
        ("18.0", Verdict.OK),
        ("9.6.24", Verdict.WRONG),
        ("15.12", Verdict.WRONG),
        ("unknown", Verdict.WRONG),
    ],
    ids=str,
)
def test_a_version_is_compared_number_by_number(found: str, verdict: Verdict) -> None:
    assert version("PostgreSQL", "PostgreSQL", found, "16").verdict is verdict


def test_a_version_ends_where_it_is_no_number() -> None:
    assert numbers("1.32.0-rc.1") == (1, 32, 0)
    assert numbers("1.9") < numbers("1.29")


@pytest.mark.parametrize("way", [1, -1], ids=["ahead", "behind"])
def test_a_clock_is_wrong_where_tokens_would_be_refused(way: int) -> None:
    little = timedelta(milliseconds=1)
    assert clock("", way * TELLS).verdict is Verdict.OK
    assert clock("", way * (TELLS + little)).verdict is Verdict.WARNING
    assert clock("", way * BELIEVED).verdict is Verdict.WARNING
    assert clock("", way * (BELIEVED + little)).verdict is Verdict.WRONG
