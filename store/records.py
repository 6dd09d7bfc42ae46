"""Several reads as one statement: each query is an array of its rows."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select


def records(query: Select[Any]) -> ColumnElement[Sequence[tuple[Any, ...]]]:
    """The rows of a query, in its order."""
    rows = query.subquery()
    return func.array(select(func.row(*rows.c)).scalar_subquery())
