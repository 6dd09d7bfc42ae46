"""Rows in aligned columns, for people."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from shutil import get_terminal_size

from rich.cells import cell_len, set_cell_size

from cli.words import at, on_a_line, say

GAP, NONE = "  ", "-"


def tell(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int]) -> None:
    """Print the rows below their headings; the columns in `numbers` end at the same place. On a
    terminal a line is a row: of what is too long for it the end of the last column is left out."""
    table = [tuple(headings), *(tuple(map(on_a_line, row)) for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    right = frozenset(numbers)
    room = get_terminal_size().columns if sys.stdout.isatty() else None
    for position, row in enumerate(table):
        cells = [_cell(each, widths[n], n in right) for n, each in enumerate(row)]
        line = GAP.join(cells).rstrip()
        say(line if room is None else _within(line, room), style="bold" if position == 0 else None)


def facts(named: Mapping[str, str]) -> None:
    """Print each beside its name."""
    width = max(map(cell_len, named))
    for name, fact in named.items():
        say(f"{name:{width}}{GAP}{on_a_line(fact)}")


def cell(value: object) -> str:
    """How a value stands in a column."""
    if value is None or value == "":
        return NONE
    if isinstance(value, datetime):
        return at(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or NONE
    return str(value)


def _cell(text: str, width: int, right: bool) -> str:
    padding = " " * (width - cell_len(text))
    return padding + text if right else text + padding


def _within(line: str, room: int) -> str:
    return line if cell_len(line) <= room else set_cell_size(line, room - 1) + "…"
