"""What is written once more for other people's servers is what our own are told."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from sqlalchemy.engine import make_url

from dev import postgres, temporal
from domain.finding import numbers
from runtime.doctor import LEAST
from runtime.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMPOSE = yaml.safe_load((ROOT / "temporal-dev.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OF_OURS = [name for name, each in SERVICES.items() if each["image"].startswith("durable-billing")]
DEFAULTS = Settings.model_construct()


def statements(sql: str) -> list[str]:
    """Without passwords, which everybody has of their own."""
    without = re.sub(r" PASSWORD '…'", "", sql)
    return [" ".join(each.split()) for each in without.split(";") if each.strip()]


def block(language: str, beginning: str) -> str:
    """The one of the README in this language that begins so."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    [found] = [each for each in blocks if each.strip().startswith(beginning)]
    return str(found)


def arguments(name: str) -> dict[str, list[str]]:
    """The options of a service's command, each with its values."""
    found: dict[str, list[str]] = {}
    for word in SERVICES[name]["command"]:
        option, _, value = word.partition("=")
        found.setdefault(option, []).append(value)
    return found


@pytest.mark.parametrize(
    "sql",
    [block("sql", "CREATE ROLE billing_owner"), COMPOSE["configs"]["roles"]["content"]],
    ids=["README", "temporal-dev.yml"],
)
def test_roles_are_made_as_ours_are(sql: str) -> None:
    assert statements(sql) == [*postgres.ROLES]


def test_the_readme_gives_a_server_the_dynamic_configuration_in_its_own_form() -> None:
    shown = yaml.safe_load(block("yaml", "history."))

    values = {name: json.loads(value) for name, value in temporal.EVERYWHERE.items()}
    assert shown == {name: [{"value": value}] for name, value in values.items()}


def test_temporal_in_a_container_is_told_what_ours_is() -> None:
    told = arguments("temporal")

    values = dict(each.split("=", 1) for each in told["--dynamic-config-value"])
    assert values == temporal.DYNAMIC_CONFIG
    assert tuple(told["--sqlite-pragma"]) == temporal.PRAGMAS
    assert told["--namespace"] == [DEFAULTS.temporal_namespace] == [temporal.NAMESPACE]


def test_the_health_of_temporal_is_asked_of_the_program_that_runs_there() -> None:
    """The image has no shell and nothing else."""
    [kind, program, *words] = SERVICES["temporal"]["healthcheck"]["test"]
    assert (kind, program, words) == ("CMD", "/temporal", ["operator", "cluster", "health"])


@pytest.mark.parametrize("name", OF_OURS)
def test_our_processes_there_are_told_settings_that_there_are(name: str) -> None:
    assert {each.lower() for each in SERVICES[name]["environment"]} <= set(Settings.model_fields)
    assert SERVICES[name]["environment"]["BILLING_ENVIRONMENT"] == "dev"


def test_every_default_address_is_one_that_a_container_listens_at() -> None:
    """Nothing there names an address, so each must be where the settings look for it."""
    published = {
        (host, int(port))
        for each in SERVICES.values()
        for host, port, _ in (word.split(":") for word in each.get("ports", []))
    }
    [simulator] = arguments("simulator")["--port"]
    published.add(("127.0.0.1", int(simulator)))

    databases = (DEFAULTS.database_url, DEFAULTS.database_owner_url, DEFAULTS.auth_database_url)
    wanted = {(url.host, url.port) for url in map(make_url, databases)}
    for address in (
        DEFAULTS.redis_url,
        DEFAULTS.gateway_url,
        f"//{DEFAULTS.kafka_bootstrap_servers}",
        f"//{DEFAULTS.temporal_address}",
        "//127.0.0.1:8233",
    ):
        parts = urlsplit(address)
        wanted.add((parts.hostname, parts.port))
    assert published == wanted


def test_the_gateway_there_shares_our_secret_and_finds_our_api() -> None:
    told = arguments("simulator")

    [secret], [url] = told["--webhook-secret"], told["--webhook-url"]
    assert (secret,) == DEFAULTS.gateway_webhook_secrets
    assert url == f"http://127.0.0.1:{DEFAULTS.api_port}/webhooks/gateway/simulator"


def test_whoever_answers_there_has_tables_and_the_customers_of_development() -> None:
    for name in ("api", "worker"):
        assert SERVICES[name]["depends_on"]["seed"] == {
            "condition": "service_completed_successfully"
        }
    assert SERVICES["seed"]["depends_on"].keys() == {"migrate"}


def test_the_servers_there_are_as_new_as_they_must_be() -> None:
    """Redis is a Valkey there, which counts from 7.2 on."""
    tags = {name: each["image"].partition(":")[2] for name, each in SERVICES.items()}

    assert numbers(tags["postgres"]) >= numbers(LEAST["PostgreSQL"])
    assert numbers(tags["valkey"]) >= numbers(LEAST["Redis"])
    assert all(tags.values())
