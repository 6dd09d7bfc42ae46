"""How much a caller may ask for in a while, and when it may ask again."""

from dataclasses import dataclass
from enum import IntEnum

LARGEST_LEASE = 50
"""A process takes at most one part of so many of a quota in advance."""


class Cost(IntEnum):
    """Units of a quota that a request takes, by what it makes us do."""

    READ = 1
    WRITE = 5
    BATCH = 10


@dataclass(frozen=True)
class Quota:
    """So many units in so many seconds, for each of those that are counted."""

    name: str
    units: int
    seconds: int = 60

    def next_lease(self, before: int, cost: int) -> int:
        """How much to take after a lease that was used up: twice as much, within bounds."""
        return max(cost, min(2 * before, self.units // LARGEST_LEASE))


@dataclass(frozen=True)
class Windows:
    """A sliding window: what was taken in the window before, which counts less and less, and in the
    present one. `*_left`: in how many seconds it counts for nothing."""

    before: int
    before_left: float
    present: int
    present_left: float

    def remaining(self, quota: Quota) -> int:
        """Units that can be taken now."""
        taken = int(self.before * self.before_left / quota.seconds) + self.present
        return max(0, quota.units - taken)

    def resets_in(self, quota: Quota) -> float:
        """Seconds until the present window becomes the one before."""
        return max(0.0, self.present_left - quota.seconds)

    def wait(self, quota: Quota, cost: int) -> float:
        """Seconds until so much can be taken, if nobody takes anything meanwhile."""
        free = quota.units - self.present - cost
        if free >= 0:
            return _until(self.before, self.before_left, free, quota)
        return _until(self.present, self.present_left, quota.units - cost, quota)


def _until(counted: int, left: float, free: int, quota: Quota) -> float:
    """When so much of a window that goes by still counts that it fits into what is free."""
    return max(0.0, left - quota.seconds * free / counted) if counted else 0.0
