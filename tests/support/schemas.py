"""The published schemas of the events: docs/events/*.json."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from domain.event import Topic

DIRECTORY = Path(__file__).parents[2] / "docs" / "events"


def schema(topic: Topic) -> dict[str, Any]:
    """The schema of a topic; fails when there is none."""
    loaded: dict[str, Any] = json.loads((DIRECTORY / f"{topic}.json").read_text())
    return loaded


def complaints(topic: Topic, data: object) -> list[str]:
    """What is wrong with an event's data: against its schema, or a field that is not in it.

    Consumers are told to ignore fields that they do not know; we publish none undocumented.
    """
    strict = schema(topic) | {"unevaluatedProperties": False}
    validator = Draft202012Validator(strict, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)]
