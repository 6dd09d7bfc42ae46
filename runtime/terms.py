"""Reading the terms of this installation from its settings."""

from collections.abc import Sequence
from datetime import timedelta

from domain.approval import ApprovalPolicy
from domain.dunning import DunningPolicy
from domain.proposal import SecondPerson
from domain.terms import Terms
from runtime import gateways
from runtime.settings import Settings


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
        second=SecondPerson(
            approvals=settings.second_person_approvals,
            write_offs=settings.second_person_write_offs,
            replays=settings.second_person_replays,
            prices=settings.second_person_prices,
            holds=timedelta(days=settings.proposal_days),
        ),
        concurrency=settings.settlement_concurrency,
        dead_letters_per_second=settings.dead_letters_per_second,
    )


def _days(numbers: Sequence[float]) -> tuple[timedelta, ...]:
    return tuple(timedelta(days=each) for each in numbers)
