"""What the settings say about money reaches the workflows that anybody starts."""

from datetime import timedelta

import pytest

from domain.approval import DeadlineEffect
from domain.run import RunRequest
from domain.settlement import SettlementRequest
from domain.terms import Terms
from runtime import terms
from runtime.settings import Settings

VARIABLES = {
    "APPROVAL_THRESHOLDS": '{"JPY": 70000}',
    "APPROVAL_ANOMALY_FACTOR": "9",
    "APPROVAL_DAYS": "[0.5, 1, 2]",
    "APPROVAL_AT_DEADLINE": "approve",
    "DUNNING_LADDER_DAYS": "[2, 14]",
    "SETTLEMENT_CONCURRENCY": "50",
}


def test_without_settings_the_terms_are_those_of_the_requests() -> None:
    agreed = Terms()

    assert agreed.settlement("acme", "2026-05") == SettlementRequest("acme", "2026-05")
    assert agreed.run("2026-05") == RunRequest("2026-05")
    assert terms.of(Settings(gateway_key_window_seconds=86_400)) == agreed


def test_settings_reach_a_customers_month_and_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)

    agreed = terms.of(Settings())
    month, run = agreed.settlement("acme", "2026-05"), agreed.run("2026-05", ["acme"])

    assert (run.concurrency, run.customers) == (50, ("acme",))
    for started in (month, run):
        assert started.dunning.ladder == (timedelta(days=2), timedelta(days=14))
        assert started.approval.thresholds == {"JPY": 70_000}
        assert started.approval.anomaly_factor == 9
        assert started.approval.remind_after == timedelta(hours=12)
        assert started.approval.escalate_after == timedelta(days=1)
        assert started.approval.deadline == timedelta(days=2)
        assert started.approval.at_deadline is DeadlineEffect.APPROVE
