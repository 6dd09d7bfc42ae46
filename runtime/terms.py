"""The terms on which this installation settles, collects and waits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from domain.invoice import DunningPolicy
from domain.settlement import ApprovalPolicy, RunRequest, SettlementRequest
from domain.waits import Waits
from runtime import gateways
from runtime.settings import Settings


@dataclass(frozen=True)
class Terms:
    """Whoever starts a workflow takes them from here: the API, the command line, the Schedule and
    the sweeper mean the same."""

    waits: Waits = field(default_factory=Waits)
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    dunning: DunningPolicy = field(default_factory=DunningPolicy)
    concurrency: int = 20

    def settlement(self, customer_id: str, period: str) -> SettlementRequest:
        """Of a customer's month."""
        return SettlementRequest(
            customer_id, period, approval=self.approval, dunning=self.dunning, waits=self.waits
        )

    def run(self, period: str, customers: Sequence[str] | None = None) -> RunRequest:
        """Of a month for these customers, or for everybody."""
        return RunRequest(
            period,
            None if customers is None else tuple(customers),
            concurrency=self.concurrency,
            approval=self.approval,
            dunning=self.dunning,
            waits=self.waits,
        )


def of(settings: Settings) -> Terms:
    """As the settings say."""
    remind_after, escalate_after, deadline = _days(settings.approval_days)
    return Terms(
        waits=gateways.waits(settings),
        approval=ApprovalPolicy(
            thresholds=settings.approval_thresholds,
            anomaly_factor=settings.approval_anomaly_factor,
            remind_after=remind_after,
            escalate_after=escalate_after,
            deadline=deadline,
            at_deadline=settings.approval_at_deadline,
        ),
        dunning=DunningPolicy(_days(settings.dunning_ladder_days)),
        concurrency=settings.settlement_concurrency,
    )


def _days(numbers: Sequence[float]) -> tuple[timedelta, ...]:
    return tuple(timedelta(days=each) for each in numbers)
