"""A page of a list, as callers see it: one form, whatever is listed."""

from typing import Annotated, Generic, TypeVar

from pydantic import Field

from api.fields import Document

Shown = TypeVar("Shown")


class Page(Document, Generic[Shown]):
    """Newest first. What committed only after its place was passed comes with the page that
    follows, beyond `limit`."""

    items: list[Shown]
    next_cursor: Annotated[
        str | None, Field(description="`cursor` of the page that follows; null at the end.")
    ]
    has_more: Annotated[bool, Field(description="Whether a page follows.")]
