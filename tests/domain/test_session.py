"""What it means that a refresh token is shown."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.session import GRACE, RefreshToken, Session, Shown, digest, shown, successor

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SESSION = Session("s", "u", "console", "seed", NOW + timedelta(days=1), None)
TOKEN = RefreshToken("s", 3, None)


def used(ago: timedelta) -> RefreshToken:
    return replace(TOKEN, used_at=NOW - ago)


def test_the_first_time_it_is_good() -> None:
    assert shown(SESSION, TOKEN, "console", NOW) is Shown.FIRST


def test_in_the_next_seconds_somebody_has_missed_the_answer() -> None:
    assert shown(SESSION, used(timedelta(0)), "console", NOW) is Shown.AGAIN
    assert shown(SESSION, used(GRACE), "console", NOW) is Shown.AGAIN
    # Clocks of transactions: the one that waited began earlier.
    assert shown(SESSION, used(-timedelta(seconds=1)), "console", NOW) is Shown.AGAIN


def test_later_somebody_has_stolen_it() -> None:
    late = GRACE + timedelta(microseconds=1)
    assert shown(SESSION, used(late), "console", NOW) is Shown.STOLEN


def test_another_client_has_stolen_it() -> None:
    assert shown(SESSION, TOKEN, "shop", NOW) is Shown.STOLEN
    assert shown(SESSION, used(timedelta(0)), "shop", NOW) is Shown.STOLEN


def test_of_a_session_that_is_over_nothing_is_good() -> None:
    for over in (replace(SESSION, revoked_at=NOW), replace(SESSION, expires_at=NOW)):
        for token in (TOKEN, used(timedelta(0)), used(timedelta(days=1))):
            assert shown(over, token, "console", NOW) is Shown.OVER


def test_a_successor_takes_the_token_and_the_seed() -> None:
    first = successor("token", "seed")

    assert first == successor("token", "seed")
    assert len(first) == 43
    assert len({first, successor("token", "other"), successor("other", "seed")}) == 3
    assert digest(first) != digest("token")
