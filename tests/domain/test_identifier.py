"""Ids and names have their form from the first character to the last."""

import ast
import re
from pathlib import Path

import pytest

from domain.identifier import (
    CURRENCY,
    EVENT_ID,
    IDEMPOTENCY_KEY,
    NAME,
    TRACEPARENT,
    UUID,
    has_form,
)

ROOT = Path(__file__).parents[2]
FOLDERS = [
    path.name
    for path in ROOT.iterdir()
    if (path / "__init__.py").is_file() and path.name != "tests"
]
GOOD = [
    (UUID, "019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11"),
    (UUID, "019A9F3E-7C1C-7D2E-9B1A-0C2F6F1C5E11"),
    (NAME, "acme-corp"),
    (NAME, "x" * 64),
    (EVENT_ID, "evt:1/2"),
    (IDEMPOTENCY_KEY, "~" * 255),
    (TRACEPARENT, f"00-{'0a' * 16}-{'1f' * 8}-01"),
    (CURRENCY, "KRW"),
]


@pytest.mark.parametrize(("form", "good"), GOOD)
def test_text_that_is_nearly_of_a_form_is_not(form: re.Pattern[str], good: str) -> None:
    assert has_form(good, form)

    strangers = ["\n", "\r\n", "\x00", "\u2028", "\u0085", " ", "\u200b", "\ufeff", "e\u0301"]
    for each in strangers:
        for near in (good + each, each + good, good[:1] + each + good[1:], each + good[1:]):
            assert not has_form(near, form), repr(near)
    for digit in re.findall("[0-9]", good):
        for foreign in "\u0661\uff11\u0967\u00b2":  # digits too, of other scripts
            assert not has_form(good.replace(digit, foreign, 1), form)
    for other in ("", good * 300, good.encode(), [good], None, 1):
        assert not has_form(other, form), repr(other)


def test_no_code_matches_only_the_beginning_of_a_text() -> None:
    """`match` with a `$` takes a line feed behind what it was written for."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("match", "search")
    ]
    assert not found
