"""Dunning: when an invoice whose charge failed is charged again."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta


@dataclass(frozen=True)
class DunningPolicy:
    """When a failed invoice is charged again, counted from its first failure; the last step's
    failure makes it uncollectible."""

    ladder: tuple[timedelta, ...] = (
        timedelta(days=1),
        timedelta(days=3),
        timedelta(days=5),
        timedelta(days=7),
    )


@dataclass(frozen=True)
class Ladder:
    """Where an invoice stands: `step` steps of its policy have passed, counted from `failed_at`."""

    policy: DunningPolicy
    step: int = 0
    failed_at: datetime | None = None

    @classmethod
    def noted(
        cls,
        policy: DunningPolicy,
        step: int,
        next_at: datetime | None,
        last_attempt_at: datetime | None,
        first_failure_at: datetime | None,
    ) -> "Ladder":
        """As the rows tell: the step and the moment noted last, and the attempts to charge. The
        last attempt may be a step that has not been noted yet."""
        if next_at is None:
            return cls(policy, step, first_failure_at)
        failed_at = next_at - policy.ladder[step] if step < len(policy.ladder) else first_failure_at
        taken = last_attempt_at is not None and last_attempt_at >= next_at
        return cls(policy, step + taken, failed_at)

    @property
    def next_at(self) -> datetime | None:
        """When the next charge is due; None before the first failure and after the last step."""
        if self.failed_at is None or self.ended:
            return None
        return self.failed_at + self.policy.ladder[self.step]

    @property
    def ended(self) -> bool:
        """Every step has passed."""
        return self.step >= len(self.policy.ladder)

    def at_its_end(self) -> "Ladder":
        """The same, given up."""
        return replace(self, step=len(self.policy.ladder))

    def after_failure(self, at: datetime) -> "Ladder":
        """A charge has failed; only the first failure counts."""
        return self if self.failed_at is not None else replace(self, failed_at=at)

    def after_wait(self, now: datetime) -> "Ladder":
        """One step further if it is due by now: whoever charges sooner takes no step."""
        due = self.next_at is not None and self.next_at <= now
        return replace(self, step=self.step + 1) if due else self

    def after_charge(self, now: datetime) -> "Ladder":
        """A charge that ended only after the next step was due moves the rest of the ladder: the
        customer is not charged several times in a row for what the PG was slow with."""
        if self.next_at is None or self.next_at > now:
            return self
        passed = self.policy.ladder[self.step - 1] if self.step else timedelta(0)
        return replace(self, failed_at=now - passed)
