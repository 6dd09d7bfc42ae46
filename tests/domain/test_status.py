"""What of a status is for a person."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.status import (
    AT_ONCE,
    LOOKED_AT,
    Gateway,
    LastLook,
    Part,
    Pile,
    Status,
    TaskQueue,
    for_a_person,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WELL = Status(
    at=NOW,
    parts=(Part("API", "1"), Part("relay")),
    queues=(TaskQueue("payments", ("1@a",), 3, 0.5),),
    gateways=(Gateway("pg", "CLOSED", False, None, None, 0),),
    piles=(Pile("dead letters", 0, None, "look", True), Pile("UNKNOWN", 2, 9.0, "look", False)),
    money=LastLook(NOW, 0),
)


def test_where_all_is_well_nothing_is_for_a_person() -> None:
    assert for_a_person(WELL) == ()


def test_a_part_that_does_not_work_is() -> None:
    silent = replace(WELL, parts=(*WELL.parts, Part("Kafka", wrong="no answer within 1.5 s")))
    assert for_a_person(silent) == ("Kafka: no answer within 1.5 s.",)


def test_a_queue_is_when_nobody_polls_it_or_they_do_not_keep_up() -> None:
    alone = TaskQueue("payments", (), 7, 0)
    assert for_a_person(replace(WELL, queues=(alone,))) == (
        "Nobody polls the task queue payments: start a worker.",
    )
    late = AT_ONCE.total_seconds()
    [behind] = for_a_person(replace(WELL, queues=(TaskQueue("payments", ("1@a",), 7, late + 1),)))
    assert behind.startswith("The task queue payments is behind: 7 wait, the oldest for 61 s.")
    assert not for_a_person(replace(WELL, queues=(TaskQueue("payments", ("1@a",), 7, late),)))


def test_a_gateway_that_is_down_is() -> None:
    down = Gateway("pg", "OPEN", True, NOW, NOW, 6)
    [told] = for_a_person(replace(WELL, gateways=(down,)))
    assert told.startswith("The PG pg is down since 2026-06-01 12:00 UTC: 6 wait for it")


def test_a_pile_is_when_nobody_else_will_do_it() -> None:
    letters = Pile("dead letters", 3, None, "billing dead-letter list", True)
    assert for_a_person(replace(WELL, piles=(letters,))) == (
        "dead letters: 3. See `billing dead-letter list`.",
    )


def test_the_money_is_when_it_was_wrong_or_nobody_looks() -> None:
    [wrong] = for_a_person(replace(WELL, money=LastLook(NOW, 2)))
    assert wrong.startswith("The money is not right: ")
    assert wrong.endswith(", 2 in all. See `billing verify`.")
    at = NOW - LOOKED_AT
    assert not for_a_person(replace(WELL, money=LastLook(at, 0)))
    [missed] = for_a_person(replace(WELL, money=LastLook(at - timedelta(seconds=1), 0)))
    assert missed.startswith("Nobody has looked at the money since 2026-06-01 09:59 UTC")


def test_nobody_says_how_old_a_look_is_while_the_database_is_silent() -> None:
    old = LastLook(NOW - 2 * LOOKED_AT, 0)
    assert not for_a_person(replace(WELL, at=None, money=old))
