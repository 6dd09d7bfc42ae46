"""`python -m dev.dashboards`: dashboards for Grafana, into deploy/dashboards; with `--check` only
whether those files are still what is said here."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parents[1] / "deploy" / "dashboards"
COLUMNS, WIDTH, HEIGHT = 3, 8, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PAY = 'method="POST",route="/api/v1/payments"'


@dataclass(frozen=True)
class Panel:
    """`lines`: an expression and how its lines are called, `{{label}}` for a label."""

    title: str
    unit: str
    lines: Sequence[tuple[str, str]]


def quantile(share: float, metric: str, by: str = "", which: str = "") -> str:
    """How long that share of a histogram took at most, within five minutes."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{which}[5m])))"


DASHBOARDS: dict[str, Sequence[Panel]] = {
    "Payments": [
        Panel(
            "Requests to pay",
            "reqps",
            [(f"sum by (status) (rate(billing_http_requests_total{{{PAY}}}[5m]))", "{{status}}")],
        ),
        Panel(
            "How long a caller waits",
            "s",
            [
                (quantile(0.5, "billing_http_request_seconds", which=f"{{{PAY}}}"), "p50"),
                (quantile(0.95, "billing_http_request_seconds", which=f"{{{PAY}}}"), "p95"),
                (quantile(0.99, "billing_http_request_seconds", which=f"{{{PAY}}}"), "p99"),
            ],
        ),
        Panel("Not ended", "short", [("max by (status) (billing_payments)", "{{status}}")]),
        Panel(
            "Oldest without an outcome",
            "s",
            [("max(billing_oldest_unknown_payment_age_seconds)", "age")],
        ),
        Panel(
            "For a person to decide",
            "short",
            [("max by (question) (billing_reviews_waiting)", "{{question}}")],
        ),
        Panel(
            "Steps taken back",
            "ops",
            [("sum by (step) (rate(billing_saga_compensations_total[5m]))", "{{step}}")],
        ),
        Panel(
            "Repeats, by what became of them",
            "reqps",
            [
                (
                    "sum by (outcome) (rate(billing_idempotency_requests_total[5m]))",
                    "{{outcome}}",
                )
            ],
        ),
        Panel(
            "Repeats that Valkey answered",
            "percentunit",
            [("idempotency_cache_hit_ratio", "hits")],
        ),
        Panel(
            "Share of errors and of slow answers",
            "percentunit",
            [
                ("payments:billing_http_errors:ratio_1h", "5xx"),
                ("payments:billing_http_slow:ratio_1h", "above 3 s"),
            ],
        ),
        Panel(
            "All routes: requests",
            "reqps",
            [("sum by (route) (rate(billing_http_requests_total[5m]))", "{{route}}")],
        ),
        Panel(
            "All routes: errors",
            "reqps",
            [
                (
                    'sum by (route) (rate(billing_http_requests_total{status="5xx"}[5m]))',
                    "{{route}}",
                )
            ],
        ),
        Panel(
            "Refused because of too many others",
            "reqps",
            [("sum by (kind) (rate(billing_overload_refusals_total[5m]))", "{{kind}}")],
        ),
    ],
    "Gateways": [
        Panel(
            "Calls",
            "reqps",
            [
                (
                    "sum by (gateway, operation) (rate(billing_gateway_calls_total[5m]))",
                    "{{gateway}} {{operation}}",
                )
            ],
        ),
        Panel(
            "What became of them",
            "reqps",
            [
                (
                    "sum by (gateway, status) (rate(billing_gateway_calls_total[5m]))",
                    "{{gateway}} {{status}}",
                )
            ],
        ),
        Panel(
            "How long a call takes, p95",
            "s",
            [
                (
                    quantile(0.95, "billing_gateway_call_seconds", "gateway, operation"),
                    "{{gateway}} {{operation}}",
                )
            ],
        ),
        Panel(
            "Breakers that are not closed, by worker",
            "short",
            [
                (
                    'sum by (gateway, state) (billing_gateway_breaker{state=~"open|half_open"})',
                    "{{gateway}} {{state}}",
                )
            ],
        ),
        Panel(
            "What waits for a gateway",
            "short",
            [("max by (gateway, kind) (billing_gateway_waiting)", "{{gateway}} {{kind}}")],
        ),
        Panel(
            "Share of declined charges",
            "percentunit",
            [("gateway:billing_declines:ratio_1h", "{{gateway}}")],
        ),
        Panel(
            "Declines for good and for now",
            "reqps",
            [
                (
                    "sum by (gateway, code_class)"
                    ' (rate(billing_gateway_calls_total{status="DECLINED"}[5m]))',
                    "{{gateway}} {{code_class}}",
                )
            ],
        ),
    ],
    "Billing of usage": [
        Panel(
            "Invoices that are open",
            "short",
            [("sum by (status) (max by (status, age) (billing_invoices))", "{{status}}")],
        ),
        Panel(
            "By days past due",
            "short",
            [("sum by (age) (max by (status, age) (billing_invoices))", "{{age}}")],
        ),
        Panel(
            "Customers whose month is not settled",
            "short",
            [("max by (status) (billing_settlements_unsettled)", "{{status}}")],
        ),
        Panel(
            "Settlements and invoices that ended",
            "ops",
            [
                (
                    "sum by (workflow_type) (rate(temporal_workflow_completed_total"
                    '{task_queue="settlement"}[5m]))',
                    "{{workflow_type}}",
                )
            ],
        ),
        Panel("Metering lag", "s", [("metering_lag", "lag")]),
        Panel(
            "Wait for an advisory lock, p95",
            "ms",
            [("advisory_lock_wait_ms", "{{lock}}")],
        ),
        Panel("Dead letters", "short", [("max by (kind) (billing_dead_letters)", "{{kind}}")]),
        Panel(
            "Usage in no month's partition",
            "short",
            [("max(billing_usage_default_partition_rows)", "rows")],
        ),
    ],
    "Operations": [
        Panel(
            "Is the money right?",
            "short",
            [("max by (invariant) (billing_invariant_violations) > 0", "{{invariant}}")],
        ),
        Panel(
            "Events that are not published",
            "s",
            [("max(billing_oldest_unpublished_event_age_seconds)", "oldest")],
        ),
        Panel("Events that Kafka refuses", "short", [("max(billing_refused_events)", "rows")]),
        Panel(
            "Messages that wait",
            "short",
            [("sum by (consumer) (billing_consumer_lag_messages)", "{{consumer}}")],
        ),
        Panel(
            "Consumers that began again",
            "ops",
            [("sum by (consumer) (rate(billing_consumer_restarts_total[5m]))", "{{consumer}}")],
        ),
        Panel(
            "Messages that were set aside",
            "short",
            [("max by (consumer) (billing_set_aside_messages)", "{{consumer}}")],
        ),
        Panel(
            "Audit: next entry to be sealed",
            "s",
            [("max(billing_oldest_unsealed_entry_age_seconds)", "age")],
        ),
        Panel(
            "Keys of issuers", "s", [("max by (issuer) (billing_jwks_age_seconds)", "{{issuer}}")]
        ),
        Panel(
            "Figures of the database",
            "s",
            [("time() - max(billing_figures_read_at_seconds)", "age")],
        ),
        Panel(
            "Workflows that cannot go on",
            "short",
            [("max by (trouble) (billing_workflows_stuck)", "{{trouble}}")],
        ),
        Panel(
            "Workflow tasks wait for a worker, p95",
            "s",
            [
                (
                    quantile(
                        0.95,
                        "temporal_workflow_task_schedule_to_start_latency_seconds",
                        "task_queue",
                    ),
                    "{{task_queue}}",
                )
            ],
        ),
        Panel(
            "Slots that are left",
            "short",
            [
                (
                    "min by (task_queue, worker_type) (temporal_worker_task_slots_available)",
                    "{{task_queue}} {{worker_type}}",
                )
            ],
        ),
        Panel(
            "Workflow tasks that fail",
            "ops",
            [
                (
                    "sum by (workflow_type)"
                    " (rate(temporal_workflow_task_execution_failed_total[5m]))",
                    "{{workflow_type}}",
                )
            ],
        ),
        Panel(
            "CPU, in cores",
            "short",
            [("rate(process_cpu_seconds_total[5m])", "{{job}} {{instance}}")],
        ),
        Panel("Memory", "bytes", [("process_resident_memory_bytes", "{{job}} {{instance}}")]),
        Panel(
            "Fields that may not be logged",
            "ops",
            [("sum(rate(billing_log_fields_dropped_total[5m]))", "dropped")],
        ),
    ],
}


def main(arguments: list[str]) -> None:
    """Write the files, or exit with 1 where they differ."""
    made = dict(files())
    if arguments != ["--check"]:
        for path, content in made.items():
            path.write_text(content)
    elif made != {path: path.read_text() for path in PLACE.glob("*.json")}:
        sys.exit("deploy/dashboards is not what dev/dashboards.py says: python -m dev.dashboards")


def files() -> Iterator[tuple[Path, str]]:
    """What stands where."""
    for title, panels in DASHBOARDS.items():
        name = title.lower().replace(" ", "-")
        document = _dashboard(name, title, panels)
        yield PLACE / f"{name}.json", json.dumps(document, indent=2) + "\n"


def _dashboard(name: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    return {
        "uid": f"durable-billing-{name}",
        "title": f"durable-billing: {title}",
        "tags": ["durable-billing"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(place, panel) for place, panel in enumerate(panels)],
    }


def _panel(place: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(place, COLUMNS)
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(panel.lines)
        ],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
