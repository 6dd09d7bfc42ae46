"""The README's table of settings says what runtime/settings.py says."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from runtime.settings import DEV_UI, Settings

README = Path(__file__).parent.parent.parent / "README.md"
HEADER = ["setting", "default", "meaning"]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _table() -> dict[str, tuple[str, str]]:
    """Default and meaning by name, from the table under `HEADER`."""
    lines = iter(README.read_text().splitlines())
    for line in lines:
        if line.startswith("|") and _cells(line) == HEADER:
            break
    next(lines)
    rows: dict[str, tuple[str, str]] = {}
    for line in lines:
        if not line.startswith("|"):
            break
        name, default, meaning = _cells(line)
        rows[name.strip("`")] = default.strip("`"), meaning
    return rows


def _shown(default: Any) -> str:
    if isinstance(default, SecretStr):
        return "for development"
    if isinstance(default, dict | tuple):
        return json.dumps(default)
    return "none" if default is None else str(default)


def test_every_setting_stands_in_the_readme_with_its_default() -> None:
    documented = {name: default for name, (default, _) in _table().items()}

    fields = Settings.model_fields
    assert documented == {name.upper(): _shown(field.default) for name, field in fields.items()}


def test_the_readme_gives_each_setting_its_meaning() -> None:
    table = _table()

    for name, field in Settings.model_fields.items():
        _, meaning = table[name.upper()]
        assert meaning, name
        assert field.description in (None, meaning), name


def test_secrets_are_listed_with_anything_white_between_them() -> None:
    """A file has lines, a variable spaces."""
    told = Settings(
        cursor_secret=SecretStr(" new old\n"),
        gateway_webhook_secret=SecretStr("whsec_bmV3\nwhsec_b2xk\n"),
        api_key_secrets=SecretStr("2026-b:new\n2026-a:old:and:colons\n"),
    )

    assert told.cursor_secrets == ("new", "old")
    assert told.gateway_webhook_secrets == ("whsec_bmV3", "whsec_b2xk")
    assert list(told.named_api_key_secrets.items()) == [
        ("2026-b", "new"),
        ("2026-a", "old:and:colons"),
    ]


@pytest.mark.parametrize("name", ["cursor_secret", "gateway_webhook_secret", "api_key_secrets"])
@pytest.mark.parametrize("empty", ["", "  \n"])
def test_a_list_without_a_secret_is_refused(name: str, empty: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({name: empty})


@pytest.mark.parametrize("text", ["nameless", "a:", ":b", "a:b c", "a b:c", "a:b a:c"])
def test_a_secret_for_keys_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"api_key_secrets": text})


@pytest.mark.parametrize(
    ("told", "link"),
    [
        ({}, None),
        ({"temporal_ui_url": "https://temporal.example"}, "https://temporal.example"),
        ({"billing_environment": "dev"}, DEV_UI),
        ({"billing_environment": "dev", "temporal_ui_url": ""}, ""),
    ],
    ids=str,
)
def test_links_lead_to_the_temporal_ui_that_is_named_and_only_in_dev_to_this_machine(
    told: dict[str, str], link: str | None
) -> None:
    assert Settings.model_validate(told).temporal_ui_url == link


def test_more_replicas_in_sync_than_there_are_is_refused() -> None:
    with pytest.raises(ValidationError, match="no event would ever be published"):
        Settings.model_validate({"kafka_replication_factor": 1, "kafka_min_insync_replicas": 2})


def test_in_dev_a_single_broker_is_enough_unless_something_else_is_said() -> None:
    alone = Settings.model_validate({"billing_environment": "dev"})
    told = Settings.model_validate({"billing_environment": "dev", "kafka_replication_factor": 3})

    assert (alone.kafka_replication_factor, alone.kafka_min_insync_replicas) == (1, 1)
    assert (told.kafka_replication_factor, told.kafka_min_insync_replicas) == (3, 1)


@pytest.mark.parametrize("queues", [[], ["outbox", "outbox"], ["refunds"]])
def test_a_worker_serves_queues_that_there_are_each_once(queues: list[str]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"worker_queues": queues})
