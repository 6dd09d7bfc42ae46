"""Dashboards and alerts speak of what running processes export: names, labels and their values."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dev import process, services
from dev.stack import SimulatorOptions, Stack, temporary_stack
from domain.event import TOPICS
from runtime import temporal
from runtime.settings import Settings
from tests.support.apart import apart
from tests.support.conditions import PATIENCE_SECONDS, eventually_beside_the_loop
from tests.support.threads import beside_the_loop
from workflows import policies
from workflows.verification import Verification

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "deploy" / "alerts").glob("*.yml"))
DASHBOARDS = sorted((ROOT / "deploy" / "dashboards").glob("*.json"))
SECRET = "whsec_dGVzdHMtb2YtdGhlLWJpbGxpbmctcHJvamVjdA=="
ISSUER = {"alias": "staff", "issuer": "http://127.0.0.1:9", "audience": "billing"}
"""Of whom nobody has keys: how old they are is shown all the same."""
OF_THE_SCRAPE = frozenset({"job", "instance"})
"""Labels that Prometheus adds."""


@dataclass(frozen=True)
class Expression:
    """`legend`: the labels that the name of a line shows."""

    where: str
    text: str
    legend: frozenset[str] = frozenset()


@dataclass
class Exported:
    """What was scraped: the values of each label of each name."""

    labels: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    def add(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found = self.labels.setdefault(sample.name, defaultdict(set))
                for name, value in sample.labels.items():
                    found[name].add(value)

    def wrong(self, expression: Expression, recorded: Mapping[str, str]) -> Iterator[str]:
        """What an expression says that is not so, a sentence each."""
        tree = promql_parser.parse(expression.text)
        selectors = list(of_kind(tree, promql_parser.VectorSelector))
        known = set(OF_THE_SCRAPE)
        for each in selectors:
            if each.name in recorded:
                known |= set(re.findall(r"\w+", recorded[each.name]))
                continue
            if each.name not in self.labels:
                yield f"{expression.where}: nothing exports {each.name}."
                continue
            labels = self.labels[each.name]
            known |= labels.keys()
            yield from (f"{expression.where}: {said}" for said in _matchers(each, labels))
        used = set(expression.legend)
        for aggregation in of_kind(tree, promql_parser.AggregateExpr):
            used |= set(aggregation.modifier.labels if aggregation.modifier else ())
        for label in sorted(used - known):
            yield f"{expression.where}: nothing there has a label {label}."


def _matchers(selector: Any, labels: Mapping[str, set[str]]) -> Iterator[str]:
    for matcher in selector.matchers.matchers:
        values = labels.get(matcher.name)
        if values is None:
            yield f"{selector.name} has no label {matcher.name}."
        elif str(matcher.op) in ("MatchOp.Equal", "MatchOp.Re"):
            for value in matcher.value.split("|"):
                if value not in values:
                    yield f"{selector.name} has no {matcher.name}={value}, but {sorted(values)}."


def of_kind(tree: Any, kind: type[Any]) -> list[Any]:
    """Every such part of an expression."""
    found: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, kind):
            found.append(node)

    promql_parser.walk(tree, visit)
    return found


def rules() -> list[dict[str, Any]]:
    groups = chain.from_iterable(yaml.safe_load(path.read_text())["groups"] for path in RULES)
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[Expression]:
    for rule in rules():
        words = " ".join(rule.get("annotations", {}).values())
        legend = frozenset(re.findall(r"\$labels\.(\w+)", words))
        yield Expression(rule.get("alert") or rule["record"], rule["expr"], legend)
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                legend = frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                yield Expression(f"{path.name}, {panel['title']}", target["expr"], legend)


def recorded() -> dict[str, str]:
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


@dataclass(frozen=True)
class Installation:
    """An API, another one that asks for tokens, and a worker, all with every port they may have."""

    stack: Stack
    api: int
    scraped: tuple[int, ...]


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    simulator = SimulatorOptions("http://127.0.0.1:9/unused", SECRET)
    api, closed, worker, *sdk = (process.free_port() for _ in range(5))
    with temporary_stack(TOPICS, simulator) as running, apart(running) as stack:
        services.prepare(stack, lambda _1, _2: None)
        usual = services.environment(stack, api_wait_seconds=PATIENCE_SECONDS)
        measured = [{**usual, "TEMPORAL_METRICS_PORT": str(each)} for each in sdk]
        ours = [
            services.start_api(stack, api, measured[0]),
            services.start_worker(stack, "worker", {**measured[1], "WORKER_PORT": str(worker)}),
        ]
        try:
            process.wait_until_ready(ours)
            strict = {**usual, "OIDC_ISSUERS": json.dumps([ISSUER])}
            ours.append(services.start_api(stack, closed, strict, "strict-api"))
            process.wait_until_ready(ours)
            yield Installation(stack, api, (api, closed, worker, *sdk))
        finally:
            process.stop(ours)


@beside_the_loop
def test_dashboards_and_rules_name_only_what_is_there(installation: Installation) -> None:
    _pay_and_settle(installation.api)
    addresses = installation.stack.endpoints.environment()
    settings = {name.lower(): value for name, value in addresses.items()}
    asyncio.run(_verify_and_fail(Settings.model_validate(settings)))
    wrong: list[str] = []

    def nothing_is_wrong() -> bool:
        found = Exported()
        for port in installation.scraped:
            found.add(process.http_get(port, "/metrics")[1].decode())
        names = recorded()
        wrong[:] = [each for said in expressions() for each in found.wrong(said, names)]
        return not wrong

    try:
        eventually_beside_the_loop(nothing_is_wrong)
    except AssertionError:
        pytest.fail("\n".join(wrong))


def _pay_and_settle(port: int) -> None:
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS) as http:

        def post(path: str, body: dict[str, Any]) -> Any:
            answer = http.post(path, json=body, headers={"Idempotency-Key": uuid4().hex})
            assert answer.status_code < 300, answer.text
            return answer.json()

        item = {"sku": "UNTRACKED", "quantity": 1, "unitPrice": 1000}
        order = post("/api/v1/orders", {"currency": "KRW", "items": [item]})
        payment = post("/api/v1/payments", {"orderId": order["id"], "method": "CARD"})
        assert payment["status"] == "COMPLETED"
        post("/api/v1/settlement/runs", {"period": "2026-05"})


async def _verify_and_fail(settings: Settings) -> None:
    """What is measured only when it happens: a verification, and a workflow task that fails."""
    client = await temporal.connect_when_ready(settings)
    await client.execute_workflow(
        Verification.run, id="verification", task_queue=policies.VERIFICATION
    )
    await client.start_workflow("NoSuchWorkflow", id="none", task_queue=policies.PAYMENTS)


def test_a_name_a_label_and_a_value_that_are_not_there_are_found() -> None:
    exported = Exported()
    exported.add('billing_payments{status="PENDING"} 0\nbilling_up 1\n')
    recorded = {"known": "sum by (status) (billing_payments)"}

    def wrong(text: str, *legend: str) -> list[str]:
        return list(exported.wrong(Expression("here", text, frozenset(legend)), recorded))

    assert wrong('sum by (status) (billing_payments{status=~"PENDING"})', "status") == []
    assert wrong("max by (status) (known)", "job") == []
    assert wrong("sum(rate(billing_payment[5m]))") == ["here: nothing exports billing_payment."]
    assert wrong('billing_payments{state="PENDING"}') == [
        "here: billing_payments has no label state."
    ]
    assert wrong('billing_payments{status=~"PENDING|GONE"}') == [
        "here: billing_payments has no status=GONE, but ['PENDING']."
    ]
    assert wrong("sum by (customer) (billing_payments)") == [
        "here: nothing there has a label customer."
    ]
    assert wrong("billing_up", "status") == ["here: nothing there has a label status."]


def test_every_alert_has_a_runbook() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}

    for rule in rules():
        if "alert" in rule:
            page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
            assert page == "docs/operations.md", rule["alert"]
            assert anchor in anchors, rule["alert"]
            assert rule["labels"]["severity"] in ("page", "ticket")


def test_no_name_has_a_label_without_bounds() -> None:
    """Ids and customers would make a series each."""
    for expression in expressions():
        assert not re.search(r"customer_?id|payment_?id|order_?id|invoice_?id", expression.text)
