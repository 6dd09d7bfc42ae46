"""The README's table of settings says what runtime/settings.py says."""

import json
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from runtime.settings import Settings

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
