"""The commands of `billing`, as they are typed."""

from collections.abc import Iterator
from typing import Any

from typer.core import TyperGroup
from typer.main import get_group

from cli.main import app


def every_command() -> Iterator[tuple[str, Any]]:
    """Each with what Typer has made of it, groups that do nothing by themselves left out."""
    top = get_group(app)
    context = top.make_context("billing", [], resilient_parsing=True)
    for name in top.list_commands(context):
        _, found, _ = top.resolve_command(context, [name])
        if isinstance(found, TyperGroup):
            for each in found.list_commands(context):
                yield f"{name} {each}", found.get_command(context, each)
        if not isinstance(found, TyperGroup) or found.invoke_without_command:
            yield name, found


def asking() -> set[str]:
    """Those that ask before they do anything."""
    return {name for name, found in every_command() if "yes" in options(found)}


def listing() -> set[str]:
    """Those that show a list."""
    return {name for name, found in every_command() if "as_csv" in options(found)}


def options(found: Any) -> set[str]:
    """What its parameters are called."""
    return {each.name for each in found.params}


def parse(words: list[str]) -> str:
    """Which command these words call; raises what Typer would say of them."""
    top = get_group(app)
    context = top.make_context("billing", words)
    names = []
    command: Any = top
    while called := context._protected_args:
        name, command, left = command.resolve_command(context, [*called, *context.args])
        names.append(name)
        context = command.make_context(name, left, parent=context)
    return " ".join(names)
