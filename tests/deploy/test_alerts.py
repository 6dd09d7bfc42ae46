"""Each alert rings when it should and not before: promtool evaluates the rules as Prometheus does.

It comes with Prometheus; where it is not installed these tests are skipped. `make check` knows
nothing of it, so that a change of a rule is tested where it is:
`go install github.com/prometheus/prometheus/cmd/promtool@v0.316.0`.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = sorted((DEPLOY / "alerts").glob("*.yml"))
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: rules are parsed but not evaluated"
)

Series = Mapping[str, str]
"""What is scraped each minute, in promtool's notation: 0+5x10 rises by 5 ten times."""


@dataclass(frozen=True)
class Row:
    """`rings`: with these it does at that time. `silent`: with these it does not, or not yet."""

    alert: str
    rings: Series
    silent: Series
    at: str = "30m"
    silent_at: str = ""


PAY = 'billing_http_requests_total{method="POST",route="/api/v1/payments",status="%s"}'
TIMED = 'billing_http_request_seconds_%s{method="POST",route="/api/v1/payments"%s}'
CALLS = 'billing_gateway_calls_total{gateway="g",operation="charge",status="%s",code_class="%s"}'
READ_AT = "billing_figures_read_at_seconds"
POLLERS = 'temporal_num_pollers{task_queue="payments",poller_type="workflow_task"}'
POLLED = 'temporal_num_pollers{task_queue="%s",poller_type="workflow_task"}'
SERVED = {
    **{POLLED % each: "1x60" for each in ("settlement", "outbox", "verification")},
    'billing_consumer_lag_seconds{consumer="billing-usage"}': "0x60",
}
WAITED = 'temporal_workflow_task_schedule_to_start_latency_seconds_bucket{task_queue="payments",%s}'
SLOTS = 'temporal_worker_task_slots_available{task_queue="%s",worker_type="ActivityWorker"}'

TABLE = [
    Row(
        "BillingLedgerOutOfBalance",
        {'billing_invariant_violations{invariant="ledger-balances"}': "1x60"},
        {'billing_invariant_violations{invariant="wallets-equal-their-postings"}': "1x60"},
    ),
    Row(
        "BillingInvariantViolated",
        {'billing_invariant_violations{invariant="wallets-equal-their-postings"}': "1x60"},
        {'billing_invariant_violations{invariant="wallets-equal-their-postings"}': "0x60"},
    ),
    Row(
        "BillingNotVerified",
        {"billing_invariants_checked_at_seconds": "0x200"},
        {"billing_invariants_checked_at_seconds": "0x60 7200x140"},
        at="130m",
    ),
    Row(
        "BillingPaymentUnknownForLong",
        {"billing_oldest_unknown_payment_age_seconds": "0+60x60"},
        {"billing_oldest_unknown_payment_age_seconds": "900x60"},
    ),
    Row(
        "BillingReviewsWait",
        {'billing_reviews_waiting{question="capture"}': "1x90"},
        {'billing_reviews_waiting{question="capture"}': "1x40 0x50"},
        at="61m",
    ),
    Row(
        "BillingCompensationsGrow",
        {'billing_saga_compensations_total{step="wallet.hold"}': "0+1x1500 1500+10x60"},
        {'billing_saga_compensations_total{step="wallet.hold"}': "0+1x1600"},
        at="1555m",
    ),
    Row(
        "BillingPaymentErrorsFast",
        {PAY % "2xx": "0+97x90", PAY % "5xx": "0+3x90"},
        {PAY % "2xx": "0+99x90", PAY % "5xx": "0+1x90"},
        at="70m",
    ),
    # One of two in a quiet night wakes nobody.
    Row(
        "BillingPaymentErrorsFast",
        {PAY % "2xx": "0+97x90", PAY % "5xx": "0+3x90"},
        {PAY % "2xx": "0x66 1x24", PAY % "5xx": "0x66 1x24"},
        at="70m",
    ),
    Row(
        "BillingPaymentErrorsSlow",
        {PAY % "2xx": "0+99x400", PAY % "5xx": "0+1x400"},
        {PAY % "2xx": "0+999x400", PAY % "5xx": "0+1x400"},
        at="390m",
    ),
    Row(
        "BillingPaymentsSlow",
        {TIMED % ("bucket", ',le="3.0"'): "0+8x90", TIMED % ("count", ""): "0+10x90"},
        {TIMED % ("bucket", ',le="3.0"'): "0+9x90", TIMED % ("count", ""): "0+10x90"},
        at="70m",
    ),
    Row(
        "BillingPaymentsSlow",
        {TIMED % ("bucket", ',le="3.0"'): "0+8x90", TIMED % ("count", ""): "0+10x90"},
        {TIMED % ("bucket", ',le="3.0"'): "0x90", TIMED % ("count", ""): "0x66 1x24"},
        at="70m",
    ),
    Row(
        "BillingRequestsRefused",
        {'billing_overload_refusals_total{kind="work"}': "0+1x60"},
        {'billing_overload_refusals_total{kind="work"}': "7x60"},
    ),
    Row(
        "BillingIssuerKeysOld",
        {'billing_jwks_age_seconds{issuer="staff"}': "0+60x60"},
        {'billing_jwks_age_seconds{issuer="staff"}': "600x60"},
    ),
    Row(
        "BillingBreakerOpen",
        {
            'billing_gateway_breaker{gateway="g",state="closed"}': "0x60",
            'billing_gateway_breaker{gateway="other",state="closed"}': "1x60",
        },
        {
            'billing_gateway_breaker{gateway="g",state="closed",instance="a"}': "0x60",
            'billing_gateway_breaker{gateway="g",state="closed",instance="b"}': "1x60",
        },
    ),
    Row(
        "BillingDeclinesGrow",
        {
            CALLS % ("CAPTURED", "none"): "0+18x2900 52200+10x120",
            CALLS % ("DECLINED", "soft"): "0+2x2900 5800+10x120",
        },
        {
            CALLS % ("CAPTURED", "none"): "0+10x3020",
            CALLS % ("DECLINED", "soft"): "0+10x3020",
        },
        at="2990m",
    ),
    Row(
        "BillingMonthNotSettled",
        # The second of January 1970, seven in the morning; the first of December, and of January.
        {"billing_settlement_run_ends_at_seconds": "-2678400x2000"},
        {"billing_settlement_run_ends_at_seconds": "0x2000"},
        at="1860m",
    ),
    Row(
        "BillingMonthNotSettled",
        {"billing_settlement_run_ends_at_seconds": "-2678400x2000"},
        # Not before six o'clock.
        {"billing_settlement_run_ends_at_seconds": "-2678400x2000"},
        at="1860m",
        silent_at="1790m",
    ),
    Row(
        "BillingSettlementsFailed",
        {'billing_settlements_unsettled{status="FAILED"}': "3x90"},
        {'billing_settlements_unsettled{status="RUNNING"}': "3x90"},
        at="61m",
    ),
    Row(
        "BillingDeadLettersGrow",
        {'billing_dead_letters{kind="invoice"}': "4x60 5x60"},
        {'billing_dead_letters{kind="invoice"}': "4x120"},
        at="70m",
    ),
    Row(
        "BillingUsageUnplaced",
        {"billing_usage_default_partition_rows": "1x60"},
        {"billing_usage_default_partition_rows": "0x60"},
    ),
    Row(
        "BillingMeteringBehind",
        {'billing_consumer_lag_seconds{consumer="billing-usage"}': "400x60"},
        {'billing_consumer_lag_seconds{consumer="billing-ranking"}': "400x60"},
    ),
    Row(
        "BillingEventsUnpublished",
        {"billing_oldest_unpublished_event_age_seconds": "61x60"},
        {"billing_oldest_unpublished_event_age_seconds": "59x60"},
    ),
    Row(
        "BillingEventsRefused",
        {"billing_refused_events": "1x60"},
        {"billing_refused_events": "0x60"},
    ),
    Row(
        "BillingMessagesSetAside",
        {'billing_set_aside_messages{consumer="billing-usage"}': "1x60"},
        {'billing_set_aside_messages{consumer="billing-usage"}': "0x60"},
    ),
    Row(
        "BillingConsumerBehind",
        {'billing_consumer_lag_seconds{consumer="billing-ranking"}': "301x60"},
        {'billing_consumer_lag_seconds{consumer="billing-ranking"}': "299x60"},
    ),
    Row(
        "BillingConsumerRestarts",
        {'billing_consumer_restarts_total{consumer="billing-usage"}': "0+30x60"},
        {'billing_consumer_restarts_total{consumer="billing-usage"}': "0x10 1x50"},
    ),
    Row(
        "BillingAuditNotSealed",
        {"billing_oldest_unsealed_entry_age_seconds": "121x60"},
        {"billing_oldest_unsealed_entry_age_seconds": "1x60"},
    ),
    Row("BillingFiguresMissing", {"up": "1x60"}, {READ_AT: "0+60x60"}),
    Row("BillingFiguresMissing", {READ_AT: "0x60"}, {READ_AT: "0+60x60"}),
    Row("BillingNoWorker", {"up": "1x60"}, {POLLERS: "5x60"}),
    Row("BillingNoWorker", {POLLERS: "0x60"}, {POLLERS: "1x60"}),
    *(
        Row(
            "BillingQueueNotServed",
            {name: series for name, series in SERVED.items() if name != missing},
            SERVED,
        )
        for missing in SERVED
    ),
    Row("BillingQueueNotServed", {**SERVED, POLLED % "outbox": "0x60"}, SERVED),
    Row(
        "BillingPaymentsWaitForWorkers",
        {
            WAITED % 'le="1"': "0+9x60",
            WAITED % 'le="5"': "0+10x60",
            WAITED % 'le="+Inf"': "0+10x60",
        },
        {
            WAITED % 'le="1"': "0+10x60",
            WAITED % 'le="5"': "0+10x60",
            WAITED % 'le="+Inf"': "0+10x60",
        },
    ),
    Row("BillingNoSlots", {SLOTS % "payments": "0x60"}, {SLOTS % "outbox": "0x60"}),
    Row(
        "BillingWorkflowTasksFail",
        {'temporal_workflow_task_execution_failed_total{workflow_type="PaymentSaga"}': "1+1x60"},
        {'temporal_workflow_task_execution_failed_total{workflow_type="PaymentSaga"}': "9x60"},
    ),
    Row(
        "BillingWorkflowsStuck",
        {'billing_workflows_stuck{trouble="no-worker"}': "1x60"},
        {'billing_workflows_stuck{trouble="no-worker"}': "0x60"},
    ),
]


def rules() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_has_a_row() -> None:
    alerts = [rule["alert"] for rule in rules() if "alert" in rule]
    assert {row.alert for row in TABLE} == set(alerts)
    assert len(set(alerts)) == len(alerts)


@needs_promtool
def test_every_alert_rings_when_it_should_and_not_before(tmp_path: Path) -> None:
    files = []
    for number, row in enumerate(TABLE):
        firing = f'count(ALERTS{{alertname="{row.alert}",alertstate="firing"}})'
        sample = {"labels": "{}", "value": 1}
        tests = [
            _test(f"{row.alert} rings", row.rings, firing, row.at, [sample]),
            _test(f"{row.alert} is silent", row.silent, firing, row.silent_at or row.at, []),
        ]
        # With its own rule alone: days of all the others are minutes of computing.
        files.append(_file(tmp_path / str(number), _those_for(row.alert), tests))
    _promtool(files)


def _those_for(alert: str) -> list[dict[str, Any]]:
    """The rule of an alert and those whose names it reads, before it."""
    [wanted] = [rule for rule in rules() if rule.get("alert") == alert]
    needed, text = [wanted], wanted["expr"]
    for rule in reversed(rules()):
        if (name := rule.get("record")) and re.search(rf"\b{re.escape(name)}\b", text):
            needed.insert(0, rule)
            text += rule["expr"]
    return needed


RECORDED: list[tuple[str, Series, dict[str, float]]] = [
    (
        "metering_lag",
        {
            'billing_consumer_lag_seconds{consumer="billing-usage",instance="a"}': "3x30",
            'billing_consumer_lag_seconds{consumer="billing-usage",instance="b"}': "7x30",
            'billing_consumer_lag_seconds{consumer="billing-ranking",instance="b"}': "9x30",
        },
        {"metering_lag": 7},
    ),
    (
        "idempotency_cache_hit_ratio",
        {
            'billing_idempotency_requests_total{outcome="replayed_cache"}': "0+3x30",
            'billing_idempotency_requests_total{outcome="replayed_db"}': "0+1x30",
            'billing_idempotency_requests_total{outcome="first"}': "0+9x30",
        },
        {"idempotency_cache_hit_ratio": 0.75},
    ),
    (
        "idempotency_cache_hit_ratio",
        {
            'billing_idempotency_requests_total{outcome="replayed_cache"}': "0x30",
            'billing_idempotency_requests_total{outcome="replayed_db"}': "0x30",
        },
        {"idempotency_cache_hit_ratio": 0},
    ),
    (
        "saga_compensation_count",
        {
            'billing_saga_compensations_total{step="wallet.hold",instance="a"}': "2x30",
            'billing_saga_compensations_total{step="wallet.hold",instance="b"}': "3x30",
        },
        {'saga_compensation_count{step="wallet.hold"}': 5},
    ),
    (
        "advisory_lock_wait_ms",
        {
            'billing_advisory_lock_wait_seconds_bucket{lock="usage",le="0.1"}': "0+0x30",
            'billing_advisory_lock_wait_seconds_bucket{lock="usage",le="0.5"}': "0+10x30",
            'billing_advisory_lock_wait_seconds_bucket{lock="usage",le="+Inf"}': "0+10x30",
            'billing_advisory_lock_wait_seconds_count{lock="usage"}': "0+10x30",
            'billing_advisory_lock_wait_seconds_bucket{lock="pricing-plan",le="0.1"}': "0x30",
            'billing_advisory_lock_wait_seconds_bucket{lock="pricing-plan",le="+Inf"}': "0x30",
            'billing_advisory_lock_wait_seconds_count{lock="pricing-plan"}': "0x30",
        },
        {
            'advisory_lock_wait_ms{lock="usage"}': 480,
            'advisory_lock_wait_ms{lock="pricing-plan"}': 0,
        },
    ),
    (
        "billing_ledger_imbalance",
        {'billing_invariant_violations{invariant="ledger-balances"}': "0x30"},
        {"billing_ledger_imbalance": 0},
    ),
]


@needs_promtool
def test_the_names_that_are_asked_for_say_what_they_mean(tmp_path: Path) -> None:
    recording = [rule for rule in rules() if "record" in rule]
    tests = []
    for name, series, expected in RECORDED:
        samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
        tests.append(_test(name, series, f"round({name}, 0.0001)", "20m", _unnamed(samples)))
    _promtool([_file(tmp_path / "recorded", recording, tests)])


def _unnamed(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As an expression has them: without the name of what they were."""
    return [
        {**each, "labels": "{" + each["labels"].partition("{")[2].rstrip("}") + "}"}
        for each in samples
    ]


def _test(
    name: str, series: Series, expression: str, at: str, expected: list[Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [{"expr": expression, "eval_time": at, "exp_samples": expected}],
    }


def _file(place: Path, needed: list[dict[str, Any]], tests: list[dict[str, Any]]) -> Path:
    """A file of tests beside one with the rules that it needs."""
    place.mkdir()
    group = {"name": "needed", "rules": needed}
    (place / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (place / "tests.yml").write_text(yaml.safe_dump(document))
    return place / "tests.yml"


def _promtool(files: list[Path]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
