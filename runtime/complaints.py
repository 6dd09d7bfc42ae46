"""What Kafka's client has to say. While brokers are away it says so many times a second: here a
line when that begins, one a minute, and one when it is over."""

import asyncio
import logging
import time
from collections.abc import Callable

import structlog

NAME = "librdkafka"
"""The logger that every client of ours is given."""
EVERY_SECONDS = 60.0
QUIET_SECONDS = 20.0
"""After which nobody has anything more to say: a client that cannot connect tries more often."""
LOOK_SECONDS = 1.0

log = structlog.get_logger()


class Complaints(logging.Filter):
    """Lets through what comes first, and then one line a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._heard: float | None = None
        self._told = 0.0
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        # A setting that the relay needs is called experimental, at the beginning of every turn.
        if record.levelno < logging.WARNING or "CONFWARN" in (said := record.getMessage()):
            return False
        now = self._clock()
        first, self._heard = self._heard is None, now
        if not first and now - self._told < EVERY_SECONDS:
            self._left_out += 1
            return False
        if self._left_out:
            record.msg, record.args = f"{said} (and {self._left_out} lines before it)", ()
        self._told, self._left_out = now, 0
        return True

    def is_over(self) -> int | None:
        """How many lines were left out at its end, asked when it has just ended; else None."""
        if self._heard is None or self._clock() - self._heard < QUIET_SECONDS:
            return None
        left_out, self._left_out, self._heard = self._left_out, 0, None
        return left_out


COMPLAINTS = Complaints()
"""Of this process."""


async def tell_for_ever(complaints: Complaints = COMPLAINTS) -> None:
    """Until cancelled: say when it is over."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if (left_out := complaints.is_over()) is not None:
            log.warning("the clients of Kafka are at work again", left_out=left_out)
