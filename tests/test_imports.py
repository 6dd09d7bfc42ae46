"""What import-linter cannot say: what the domain may import, and whose names ours are."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"worker"}


def imported(path: Path) -> Iterator[str]:
    """The first names of what a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: a relative import"
            yield node.module.partition(".")[0]


def test_the_domain_imports_the_standard_library_and_itself_only() -> None:
    allowed = sys.stdlib_module_names | {"domain"}

    found = {path.name: set(imported(path)) - allowed for path in (ROOT / "domain").glob("*.py")}

    assert {name: strange for name, strange in found.items() if strange} == {}


def test_the_entry_of_a_worker_is_put_together_by_the_runtime_alone() -> None:
    assert set(imported(ROOT / "worker.py")) & OURS == {"runtime"}


def test_nothing_installed_brings_a_top_level_name_of_ours() -> None:
    """It would be imported instead of ours, or the other way round."""
    brought = packages_distributions()

    assert {
        name: brought[name]
        for name in OURS & brought.keys()
        if set(brought[name]) != {"durable-billing"}
    } == {}
