"""The Helm chart: what it lets in, and what it makes.

What it makes is looked at where helm is; `make test-chart` builds it, with Go. Elsewhere the
values, their schema and the files of the chart are looked at all the same.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from api import app as api_module
from runtime import gateways
from runtime.production import require_api, require_worker
from runtime.settings import Settings, WorkerQueue
from runtime.version import VERSION
from tests.support.chart import (
    CHART,
    ENVIRONMENTS,
    NEWEST,
    OLDEST,
    RELEASE,
    ROOT,
    RUNNING,
    component,
    environment_of,
    helm,
    of_kind,
    pods,
    rendered,
    rendered_text,
    tool,
    values,
)
from tests.support.threads import beside_the_loop

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
NAMES = {name.upper() for name in Settings.model_fields}
WITH_PASSWORDS = {"DATABASE_URL", "DATABASE_OWNER_URL", "AUTH_DATABASE_URL", "REDIS_URL"}
QUEUES = [str(each) for each in WorkerQueue]
INSIDE = ("/health/live", "/health/ready", "/metrics")
"""Routes that are for nobody outside of the cluster."""

needs_helm = pytest.mark.skipif(
    tool("helm") is None,
    reason="helm is not installed (`make test-chart` builds it): the chart is not rendered",
)
needs_schemas = pytest.mark.skipif(
    find_spec("kubernetes_validate") is None,
    reason="kubernetes-validate is not installed (`make test-chart` does it): nothing is validated",
)
needs_score = pytest.mark.skipif(
    tool("kube-score") is None,
    reason="kube-score is not installed (`make test-chart` builds it): the chart is not scored",
)
everywhere = pytest.mark.parametrize("environment", ENVIRONMENTS)


def refusals(document: Mapping[str, Any]) -> list[str]:
    return [each.message for each in Draft202012Validator(SCHEMA).iter_errors(document)]


def with_setting(name: str, value: object) -> dict[str, Any]:
    return {**values(), "settings": {name: value}}


def test_the_schema_takes_the_values_of_each_environment() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    for environment in (None, *ENVIRONMENTS):
        assert refusals(values(environment)) == [], environment


def test_the_schema_refuses_what_there_is_not() -> None:
    workers = values()["workers"]
    strange = {**workers["consumers"], "queues": ["refunds"]}

    assert refusals({**values(), "replicas": 2})
    assert refusals({**values(), "workers": {"consumers": strange}})
    assert refusals({**values(), "api": {**values()["api"], "replicas": 0}})
    assert refusals(with_setting("SWEEP_SECONDS", 10))
    assert not refusals(with_setting("SWEEP_SECONDS", "10"))


def test_no_secret_can_be_a_value() -> None:
    """Whatever the settings hide, and whatever has a password in it."""
    hidden = {
        name.upper()
        for name, field in Settings.model_fields.items()
        if field.annotation in (SecretStr, SecretStr | None)
    }

    assert "CURSOR_SECRET" in hidden
    for name in hidden | WITH_PASSWORDS:
        assert refusals(with_setting(name, "x")), name


@pytest.mark.parametrize("file", sorted(CHART.glob("values*.yaml")), ids=lambda path: path.name)
def test_values_name_no_secret_and_no_template_makes_one(file: Path) -> None:
    assert not re.search(r"://[^/\s]*:[^/\s]*@|BEGIN [A-Z ]*PRIVATE KEY", file.read_text())
    for template in (CHART / "templates").iterdir():
        assert not re.search(r"kind: Secret\b|stringData|b64enc|randAlpha", template.read_text())


@pytest.mark.parametrize("environment", [None, *ENVIRONMENTS])
def test_each_queue_is_served_and_by_one_deployment_only(environment: str | None) -> None:
    workers = values(environment)["workers"].values()

    assert sorted(queue for each in workers for queue in each["queues"]) == sorted(QUEUES)


@everywhere
def test_values_name_settings_that_there_are_and_components_too(environment: str) -> None:
    found = values(environment)
    processes = {"api": found["api"], **found["workers"]}
    named = {
        *found["settings"],
        *(name for each in processes.values() for name in each["settings"]),
    }
    servers = found["networkPolicy"]["servers"].values()

    assert named <= NAMES
    assert {name for each in servers for name in each.get("from", ())} <= processes.keys()


def test_the_chart_is_of_this_version_and_has_the_very_alarms_and_dashboards() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    for name in ("alerts", "dashboards"):
        assert (CHART / "files" / name).resolve() == ROOT / "deploy" / name


@needs_helm
@everywhere
@beside_the_loop
def test_its_own_linter_finds_nothing(environment: str) -> None:
    ran = helm("lint", "--strict", ".", "-f", f"values-{environment}.yaml")

    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_helm
@needs_schemas
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@everywhere
@beside_the_loop
def test_kubernetes_takes_what_is_made(environment: str, version: str, tmp_path: Path) -> None:
    (file := tmp_path / "all.yaml").write_text(rendered_text(environment))

    ran = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", "--quiet", "-k", version, file],
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stdout
    assert "ERROR" not in ran.stdout


EXPECTED = {
    "Deployment does not have a host podAntiAffinity set": (
        "topologySpreadConstraints spread pods over zones and nodes; it does not know them"
    ),
    "Deployment few replicas": "KEDA has an autoscaler of its own; `dev` has one of each",
    "CPU limit is not set": (
        "throttled, an event loop heartbeats too late, and Temporal has its work done twice"
    ),
    "ImagePullPolicy is not set to Always": "the image is named by its version, or its digest",
}
OF_DEV = ("The pod does not have a matching NetworkPolicy",)


@needs_helm
@needs_score
@everywhere
@beside_the_loop
def test_a_judge_of_charts_finds_nothing_else(environment: str, tmp_path: Path) -> None:
    score = tool("kube-score")
    assert score is not None
    (file := tmp_path / "all.yaml").write_text(rendered_text(environment))

    ran = subprocess.run(
        [score, "score", "--output-format", "ci", file], capture_output=True, text=True
    )

    lines = [each for each in ran.stdout.splitlines() if not re.match(r"\[(OK|SKIPPED)\]", each)]
    assert "[OK]" in ran.stdout
    known = (*EXPECTED, *(OF_DEV if environment == "dev" else ()))
    assert [each for each in lines if not each.endswith(known)] == []


def as_told(pod: Mapping[str, Any]) -> Settings:
    """The settings of a pod, with good secrets in the files that it names."""
    secrets = {
        "DATABASE_URL": "postgresql://billing_app@postgresql.data.svc/billing?sslmode=verify-full",
        "REDIS_URL": "rediss://valkey.data.svc:6379/0",
        "PAYLOAD_KEYS": f"k:{'A' * 43}=",
        "GATEWAY_WEBHOOK_SECRET": "whsec_dGhlLXNlY3JldC1vZi10aGUtY2hhcnQ=",
        "CURSOR_SECRET": "the-secret-of-all-cursors",
        "API_KEY_SECRETS": "one:the-secret-of-all-keys",
        "KAFKA_SASL_PASSWORD": "secret",
        "DATABASE_OWNER_URL": "postgresql://billing_owner@postgresql.data.svc/billing",
    }
    told = environment_of(dict(pod))
    mounted = {name.removesuffix("_FILE") for name in told if name.startswith(tuple(secrets))}
    assert all(told[f"{name}_FILE"] == f"/run/secrets/billing/{name}" for name in mounted)
    plain = {
        name: value for name, value in told.items() if name.removesuffix("_FILE") not in mounted
    }
    assert plain.keys() <= NAMES
    # As the environment is read: what is no text is JSON.
    read = {name.lower(): _read(value) for name, value in plain.items()}
    return Settings.model_validate(read | {name.lower(): secrets[name] for name in mounted})


def _read(value: str) -> object:
    return json.loads(value) if value.startswith(("[", "{")) else value


@needs_helm
@everywhere
@beside_the_loop
def test_each_pod_is_told_what_its_process_needs_in_production(environment: str) -> None:
    found = dict(pods(rendered(environment)))

    for name, pod in found.items():
        settings = as_told(pod)
        assert settings.billing_environment == "production"
        if name == "api":
            require_api(settings)
        elif name != "migration":
            require_worker(settings)
    assert found.keys() == {"api", "migration", *values(environment)["workers"]}


@needs_helm
@everywhere
@beside_the_loop
def test_only_the_migration_has_the_owners_credentials(environment: str) -> None:
    mounted = {
        name: {
            volume["secret"]["secretName"]: [
                each["key"] for each in volume["secret"].get("items", ())
            ]
            for volume in pod["spec"]["volumes"]
            if "secret" in volume and "items" in volume["secret"]
        }
        for name, pod in pods(rendered(environment))
    }

    assert mounted.pop("migration") == {"durable-billing-owner": ["DATABASE_OWNER_URL"]}
    for found in mounted.values():
        [(secret, keys)] = found.items()
        assert secret == "durable-billing"
        assert "DATABASE_OWNER_URL" not in keys


@needs_helm
@everywhere
@beside_the_loop
def test_a_secret_of_a_server_goes_to_those_who_may_speak_to_it(environment: str) -> None:
    servers = values(environment)["networkPolicy"]["servers"]

    for secret, server in (("REDIS_URL", "redis"), ("KAFKA_SASL_PASSWORD", "kafka")):
        told = {
            name
            for name, pod in pods(rendered(environment))
            if f"{secret}_FILE" in environment_of(pod)
        }
        if server in servers:
            assert told == set(servers[server]["from"]), secret


@needs_helm
@everywhere
@beside_the_loop
def test_a_pod_is_left_longer_than_its_slowest_call_to_a_gateway(environment: str) -> None:
    for name, pod in pods(rendered(environment)):
        if name != "migration":
            longest = gateways.longest_call(as_told(pod))
            left = timedelta(seconds=pod["spec"]["terminationGracePeriodSeconds"])
            assert left >= longest + timedelta(seconds=10), name


@needs_helm
@beside_the_loop
def test_each_worker_serves_its_queues_and_is_asked_at_its_port() -> None:
    for name, pod in pods(rendered("prod")):
        [container] = pod["spec"]["containers"]
        if name in ("api", "migration"):
            continue
        command, option, queues = container["args"]
        settings = as_told(pod)
        assert (command, option) == ("worker", "--queues")
        assert queues.split(",") == values("prod")["workers"][name]["queues"]
        assert {each["name"]: each["containerPort"] for each in container["ports"]} == {
            "http": settings.worker_port,
            "sdk": settings.temporal_metrics_port,
        }
        assert settings.api_host == "0.0.0.0"


@needs_helm
@beside_the_loop
def test_every_call_comes_in_over_tls_and_nothing_else_does() -> None:
    found = of_kind(rendered("prod"), "Ingress")
    paths = [
        path["path"]
        for each in found
        for rule in each["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]
    routes = [
        route.path
        for part in (*api_module.CALLS, *api_module.LENIENT)
        for route in part.router.routes
        if isinstance(route, APIRoute)
    ]

    def comes_in(route: str) -> bool:
        return any(route == path or route.startswith(f"{path}/") for path in paths)

    assert all(each["spec"]["tls"] for each in found)
    assert {route for route in routes if not comes_in(route)} == set(INSIDE)
    for named in (
        "/api/v1/payments",
        "/api/v1/invoices",
        "/api/v1/admin/dlq",
        "/webhooks/gateway/x",
    ):
        assert comes_in(named)
    # By itself, so that it can be open to fewer.
    assert "/api/v1/admin" in paths


@needs_helm
@beside_the_loop
def test_prometheus_gets_the_very_rules_and_grafana_the_dashboards() -> None:
    [rule] = of_kind(rendered("prod"), "PrometheusRule")
    [dashboards] = of_kind(rendered("prod"), "ConfigMap")
    rules = sorted((ROOT / "deploy" / "alerts").glob("*.yml"))
    files = sorted((ROOT / "deploy" / "dashboards").glob("*.json"))

    groups = [group for path in rules for group in yaml.safe_load(path.read_text())["groups"]]
    assert rule["spec"]["groups"] == groups
    assert dashboards["data"].keys() == {path.name for path in files}
    for path in files:
        assert json.loads(dashboards["data"][path.name]) == json.loads(path.read_text())


@needs_helm
@beside_the_loop
def test_a_packed_chart_makes_the_same(tmp_path: Path) -> None:
    """With the alarms and dashboards themselves: a link would lead nowhere."""
    packed = helm("package", ".", "--destination", str(tmp_path))
    [archive] = tmp_path.glob("*.tgz")

    told = ("-f", "values-prod.yaml", "--kube-version", NEWEST)
    made = helm("template", RELEASE, str(archive), *told)

    assert (packed.returncode, made.returncode) == (0, 0)
    assert made.stdout == rendered_text("prod")


@needs_helm
@beside_the_loop
def test_every_pod_is_closed_but_for_what_is_listed() -> None:
    documents = rendered("prod")
    policies = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(documents, "NetworkPolicy")
    }
    closed = policies[f"{RELEASE}-network"]

    assert closed["policyTypes"] == ["Ingress", "Egress"]
    for _, pod in pods(documents):
        assert closed["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert [port["port"] for rule in closed["egress"] for port in rule["ports"]] == [53, 53]
    [entrance] = policies[f"{RELEASE}-network-api"]["ingress"]
    assert entrance["from"][0]["namespaceSelector"]["matchLabels"]
    assert {f"{RELEASE}-network-{name}" for name in values("prod")["networkPolicy"]["servers"]} <= (
        policies.keys()
    )


@needs_helm
@beside_the_loop
def test_payments_are_never_scaled_to_none_and_a_replica_count_does_not_fight_the_scaler() -> None:
    documents = rendered("prod")
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"].get("minReplicaCount")
        or each["spec"]["minReplicas"]
        for each in of_kind(documents, "ScaledObject", "HorizontalPodAutoscaler")
    }

    assert scaled[f"{RELEASE}-worker-payments"] >= 2
    assert f"{RELEASE}-worker-outbox" not in scaled
    for each in of_kind(documents, "Deployment"):
        assert ("replicas" in each["spec"]) == (each["metadata"]["name"] not in scaled)


@needs_helm
@beside_the_loop
def test_temporals_controller_runs_whoever_polls_a_task_queue() -> None:
    flags = ("enabled=true", "connection=temporal")
    more = [word for each in flags for word in ("--set", f"temporal.workerController.{each}")]
    documents = rendered("prod", *more)

    kinds = {component(each): each["kind"] for each in of_kind(documents, *RUNNING)}
    assert kinds == {
        "api": "Deployment",
        "consumers": "Deployment",
        **dict.fromkeys(
            ("worker-payments", "worker-settlement", "worker-outbox"), "WorkerDeployment"
        ),
    }
    for name, pod in pods(documents):
        # It says these itself.
        assert ("TEMPORAL_ADDRESS" in environment_of(pod)) == (
            kinds.get(name) != "WorkerDeployment"
        )
    assert of_kind(documents, "ScaledObject") == []


@needs_helm
@beside_the_loop
def test_the_notes_say_what_runs_by_the_clock_and_what_is_missing() -> None:
    notes = helm("install", RELEASE, ".", "--dry-run=client").stdout.partition("NOTES:")[2]
    full = helm("install", RELEASE, ".", "-f", "values-prod.yaml", "--dry-run=client").stdout

    assert "no CronJob: Temporal keeps it as Schedules" in notes
    for name in ("TEMPORAL_ADDRESS", "OIDC_ISSUERS", "networkPolicy.servers"):
        assert re.search(f"MISSING: .*{re.escape(name)}", notes), name
    assert "MISSING" not in full.partition("NOTES:")[2]


@needs_helm
@pytest.mark.parametrize("flag", ["api.replicas=0", "settings.CURSOR_SECRET=x", "unknown=1"])
@beside_the_loop
def test_helm_refuses_what_the_schema_refuses(flag: str) -> None:
    refused = helm("template", RELEASE, ".", "--set", flag)

    assert refused.returncode != 0
    assert "at '" in refused.stderr
