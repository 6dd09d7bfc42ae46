"""Lists by page, newest first: one form of the question and of the answer, whatever is listed."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import Field

from api import cursor
from api.context import Context
from api.cursor import MAX_LENGTH
from api.documents.page import Page
from api.fields import Document, Moment, utc
from store import page as pages
from store.page import Place

Item = TypeVar("Item")
Kind = TypeVar("Kind", bound="Page[Any]")

Find = Callable[[Place | None, int], Awaitable[pages.Page[Item]]]
"""What is below a place, so many at most."""


class Paging(Document):
    """What every list can be asked; each adds by what its things are found."""

    limit: Annotated[int, Field(ge=1, le=200, description="So many at most.")] = 50
    cursor: Annotated[
        str | None,
        Field(
            max_length=MAX_LENGTH,
            description="`nextCursor` of the page before; good for the same filters only.",
        ),
    ] = None


class Listing(Paging):
    """One of things that have a moment."""

    since: Annotated[Moment | None, Field(alias="from", description="From then on.")] = None
    until: Annotated[Moment | None, Field(alias="to", description="Until before then.")] = None


async def page(
    context: Context,
    asked: Paging,
    of: tuple[str, str | None],
    kind: type[Kind],
    find: Find[Item],
    shown: Callable[[Item], Any],
) -> Kind:
    """One page of such a kind. `of`: what is listed, and whose; a cursor is good for that alone."""
    secrets = context.settings.cursor_secrets
    filters = {**_filters(asked), "of": of[0], "customerId": of[1]}
    place = None if asked.cursor is None else cursor.decode(secrets, asked.cursor, filters, Place)
    found = await find(place, asked.limit)
    last = found.following
    following = None if last is None else cursor.encode(secrets, last, filters)
    items = [shown(each) for each in found.items]
    return kind(items=items, nextCursor=following, hasMore=following is not None)


def _filters(asked: Paging) -> dict[str, str | None]:
    """Everything that was asked for, apart from the page: moments in one form."""
    said = asked.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
    return {name: _text(value) for name, value in said.items()}


def _text(value: object) -> str:
    return utc(value).isoformat() if isinstance(value, datetime) else str(value)
