"""Callers come in by one door: adapters write and start nothing, the service does."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADAPTERS = ("api", "auth", "cli")
WRITES = frozenset(
    {"begin", "start_workflow", "execute_update", "start_update", "signal", "execute"}
)
"""What opens a transaction that can write, runs a statement, or starts or tells a workflow."""
PARTS_OF_THE_SERVICE = ("service.starts", "service.owner", "activities", "temporalio.client.Client")


def trees(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_the_process = ast.unparse(node.func) == "signal.signal"
            yield from [] if of_the_process else [(node.lineno, node.func.attr)]


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{each.name}" for each in node.names)


def doors(folder: str) -> list[str]:
    """Where a folder does what only the service may."""
    found = []
    for path, tree in trees(folder):
        where = path.relative_to(ROOT)
        found += [f"{where}:{line} calls {name}" for line, name in calls(tree) if name in WRITES]
        found += [
            f"{where} imports {name}"
            for name in imports(tree)
            if name.startswith(PARTS_OF_THE_SERVICE)
        ]
    return found


@pytest.mark.parametrize("folder", ADAPTERS)
def test_an_adapter_opens_no_write_transaction_and_starts_no_workflow(folder: str) -> None:
    assert doors(folder) == []


def test_the_look_for_doors_finds_those_of_the_service() -> None:
    """So the test above can fail."""
    found = " ".join(doors("service"))

    assert "calls begin" in found
    assert "calls execute_update" in found
    assert "imports service.starts" in found
