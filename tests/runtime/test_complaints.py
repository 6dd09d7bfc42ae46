"""Of a trouble with Kafka the log has its begin, a line a minute, and its end."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from runtime.complaints import EVERY_SECONDS, QUIET_SECONDS, Complaints


class Clock:
    """Goes on when it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def clients(clock: Clock) -> Iterator[tuple[logging.Logger, Complaints]]:
    """The logger that clients are given, with nobody else's lines."""
    logger, complaints = logging.getLogger(f"test-{uuid4().hex}"), Complaints(clock)
    logger.addFilter(complaints)
    logger.setLevel(logging.DEBUG)
    yield logger, complaints


def test_three_minutes_of_an_outage_are_four_lines_and_what_is_left_out_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    with clients(clock) as (logger, complaints):
        for _ in range(3 * 600 + 1):
            logger.error("%s: Connection refused", "127.0.0.1:9092")
            clock.now += 0.1
            assert complaints.is_over() is None
        clock.now += QUIET_SECONDS

        assert complaints.is_over() is not None
        assert complaints.is_over() is None, "said once"

    said = [record.getMessage() for record in caplog.records]
    assert len(said) in (3, 4)
    assert said[0] == "127.0.0.1:9092: Connection refused"
    assert all("lines before it" in line for line in said[1:])


def test_another_outage_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with clients(clock) as (logger, complaints):
        logger.error("first")
        clock.now += QUIET_SECONDS
        assert complaints.is_over() == 0
        logger.error("second")

    assert [record.getMessage() for record in caplog.records] == ["first", "second"]
    assert QUIET_SECONDS < EVERY_SECONDS


def test_what_is_no_complaint_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with clients(clock) as (logger, complaints):
        logger.info("Disconnected, as nothing was said for ten minutes")
        logger.warning("CONFWARN: enable.gapless.guarantee is experimental")
        clock.now += QUIET_SECONDS

        assert complaints.is_over() is None

    assert caplog.records == []
