"""No row leaves the store: what its functions return are values of the domain."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_ABOVE = {"store", "tests", "migrations"}


def test_no_function_of_the_store_returns_a_row() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {function.name}"
        for path in sorted((ROOT / "store").glob("*.py"))
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and function.returns is not None
        and any(getattr(node, "id", "") == "Row" for node in ast.walk(function.returns))
    ]
    assert found == []


def test_whoever_uses_the_store_knows_no_row() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{imported.lineno}"
        for path in _above()
        for imported in ast.walk(ast.parse(path.read_text()))
        if isinstance(imported, ast.ImportFrom)
        and (imported.module or "").startswith("sqlalchemy")
        and any(name.name.startswith("Row") for name in imported.names)
    ]
    assert found == []


def _above() -> Iterator[Path]:
    for package in sorted(ROOT.glob("[a-z]*/__init__.py")):
        if package.parent.name not in NOT_ABOVE:
            yield from sorted(package.parent.rglob("*.py"))
