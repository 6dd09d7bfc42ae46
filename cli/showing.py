"""How one thing is shown: a fact a line for a person, or (`--json`) as the API's document."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import typer

from cli import table
from cli.calling import Answer, Model, Query, calling
from cli.words import say

Row = Mapping[str, object]


def show(
    path: str,
    query: Query,
    model: type[Model],
    facts: Mapping[str, Callable[[Model], object]],
    parts: Mapping[str, Callable[[Model], Sequence[Row]]],
    as_json: bool,
) -> None:
    """Ask for it and show it. `facts` are named as the fields of the document, and so are `parts`,
    each of which is a table of its own."""
    answer = asyncio.run(_get(path, query))
    if as_json:
        typer.echo(answer.text)
        return
    found = answer.read(model)
    table.facts({name: table.cell(fact(found)) for name, fact in facts.items()})
    for name, part in parts.items():
        rows = part(found)
        say(name if rows else f"{name}  {table.NONE}", style="bold")
        cells = [[table.cell(value) for value in row.values()] for row in rows]
        if rows:
            table.tell(list(rows[0]), cells, numbers=())


async def _get(path: str, query: Query) -> Answer:
    async with calling() as api:
        return await api.get(path, **query)
