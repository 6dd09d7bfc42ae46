"""Places in lists that grow while they are read."""

from datetime import datetime
from typing import NamedTuple

from store.seen import Seen


class Position(NamedTuple):
    """After which row the next page begins, oldest first, and what was seen until there."""

    created_at: datetime
    id: str
    seen: Seen


class Ascent(NamedTuple):
    """Behind which row the next page begins, of rows that never become more."""

    last: int
