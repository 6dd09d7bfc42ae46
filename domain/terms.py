"""The terms on which an installation settles, collects and waits."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from domain.approval import ApprovalPolicy
from domain.dead_letter import JobRequest
from domain.dunning import DunningPolicy
from domain.proposal import SecondPerson
from domain.run import RunRequest
from domain.settlement import SettlementRequest
from domain.waits import Waits


@dataclass(frozen=True)
class Terms:
    """Whoever starts a workflow takes them from here: the API, the command line, the Schedule and
    the sweeper mean the same."""

    waits: Waits = field(default_factory=Waits)
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    dunning: DunningPolicy = field(default_factory=DunningPolicy)
    second: SecondPerson = field(default_factory=SecondPerson)
    concurrency: int = 20
    dead_letters_per_second: int = 20

    def settlement(self, customer_id: str, period: str) -> SettlementRequest:
        """Of a customer's month."""
        return SettlementRequest(
            customer_id, period, approval=self.approval, dunning=self.dunning, waits=self.waits
        )

    def dead_letter_job(self, job_id: str) -> JobRequest:
        """Of many letters for which somebody has decided the same."""
        return JobRequest(job_id, self.dead_letters_per_second)

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
