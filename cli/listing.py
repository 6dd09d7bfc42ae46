"""How every list is shown: in columns for a person, or (`--json`, `--csv`) as the API's documents
for a program. A command says what is listed, and where it comes from."""

import asyncio
import csv
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Generic, TypeVar

import orjson
import typer

from api.fields import Document
from api.spreadsheet import cell
from cli import table
from cli.calling import Api, Query, calling
from cli.options import with_options_of
from cli.refused import Refused
from cli.watching import watch
from cli.words import remark

PAGE = 200
"""So many at most the API gives at once."""
USUAL, MOST = 50, 10_000
"""What a person looks at; a program that is not told of a limit misses nothing."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")

Model = TypeVar("Model", bound=Document)
Item = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """Documents as they were said, and whether there are more."""

    items: Sequence[Item]
    more: bool = False


Read = Callable[[int], Awaitable[Found]]
"""So many at most."""
Source = Callable[[], AbstractAsyncContextManager[Read]]
"""Connected for as long as somebody looks."""


@dataclass(frozen=True)
class Listing(Generic[Model]):
    """`columns` are named as the fields of the document that they show: the same names are those of
    `--sort`, of `--csv` and of `--json`. `hint`: what can be done about them. `told`: how people
    see them where a line for each is not enough."""

    model: type[Model]
    source: Source
    columns: Mapping[str, Callable[[Model], object]]
    nothing: str
    hint: str | None = None
    told: Callable[[Sequence[Model]], None] | None = None


@dataclass(frozen=True)
class Look:
    """How somebody wants to see it."""

    limit: int
    sort: str | None
    as_json: bool
    as_csv: bool
    watch: bool


def listed(command: Callable[..., Listing[Any]]) -> Callable[..., None]:
    """The command that shows what this one lists, with the options of all lists."""

    def shown(
        *,
        limit: Annotated[
            int | None,
            typer.Option(
                help=f"So many at most; else {USUAL}, for programs {MOST}.", min=1, max=MOST
            ),
        ] = None,
        sort: Annotated[
            str | None,
            typer.Option(metavar="FIELD", help="By a field of the document; -FIELD: downwards."),
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="For programs: a list of the API's documents.")
        ] = False,
        as_csv: Annotated[bool, typer.Option("--csv", help="The same as CSV.")] = False,
        watch: Annotated[
            bool, typer.Option("--watch", help="Again every two seconds, until Ctrl-C.")
        ] = False,
        **rest: Any,
    ) -> None:
        if as_json + as_csv + watch > 1:
            raise Refused("--json, --csv or --watch: one of them.")
        usual = MOST if as_json or as_csv else USUAL
        look = Look(limit or usual, sort, as_json, as_csv, watch)
        asyncio.run(_show(command(**rest), look))

    with_options_of(command, shown)
    return shown


def pages(path: str, query: Query, size: str = "limit") -> Source:
    """What the API lists page by page, each with the cursor of the next one. `size` is what it
    calls the length of a page."""

    async def read(api: Api, limit: int) -> Found:
        found: list[Item] = []
        cursor = None
        while len(found) < limit:
            wanted = {**query, size: min(PAGE, limit - len(found)), "cursor": cursor}
            page = orjson.loads((await api.get(path, **wanted)).text)
            found += page["items"]
            if (cursor := page["nextCursor"]) is None:
                break
        return Found(found, more=cursor is not None)

    return answers(read)


def answers(read: Callable[[Api, int], Awaitable[Found]]) -> Source:
    """What the API is asked for in a way of its own."""

    @asynccontextmanager
    async def source() -> AsyncIterator[Read]:
        async with calling() as api:
            yield partial(read, api)

    return source


async def _show(listing: Listing[Any], look: Look) -> None:
    fields = _fields(listing.model)
    if look.sort is not None and look.sort.removeprefix("-") not in fields:
        raise Refused(f"There is no {look.sort.removeprefix('-')} here: {', '.join(fields)}.")
    async with listing.source() as read:
        tell = partial(_tell, listing, look)
        tell(await read(look.limit))
        if look.watch:
            await watch(partial(read, look.limit), tell)


def _tell(listing: Listing[Any], look: Look, found: Found) -> None:
    items = _sorted(listing.model, found.items, look.sort)
    if look.as_json:
        typer.echo(orjson.dumps(items))
    elif look.as_csv:
        _write(listing.model, items)
    elif not items:
        remark(listing.nothing)
    else:
        _tabulate(listing, items)
    if found.more:
        remark(f"There are more than these {len(items)}: see --limit.")


def _tabulate(listing: Listing[Any], items: Sequence[Item]) -> None:
    fields = _fields(listing.model)
    documents = [_read(listing.model, each) for each in items]
    if listing.told is not None:
        listing.told(documents)
        return
    rows = [[table.cell(shown(each)) for shown in listing.columns.values()] for each in documents]
    numbers = [
        position
        for position, name in enumerate(listing.columns)
        if all(_is_number(_value(each, fields[name])) for each in documents)
    ]
    table.tell(list(listing.columns), rows, numbers)
    if listing.hint is not None:
        remark(listing.hint)


def _write(model: type[Document], items: Sequence[Item]) -> None:
    """Every field of the documents; what is a list or an object there is JSON, and no text is a
    formula."""
    fields = _fields(model)
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(fields)
    for each in items:
        out.writerow([cell(_plain(each.get(name))) for name in fields])


def _plain(value: object) -> object:
    if isinstance(value, list | dict | bool):
        return orjson.dumps(value).decode()
    return "" if value is None else value


def _sorted(model: type[Document], items: Sequence[Item], by: str | None) -> list[Item]:
    """What has no such thing comes last, whichever way."""
    if by is None:
        return list(items)
    field = _fields(model)[by.removeprefix("-")]
    valued = [(_value(_read(model, each), field), each) for each in items]
    there = [each for each in valued if each[0] is not None]
    there.sort(key=lambda each: _place(each[0]), reverse=by.startswith("-"))
    return [each for _, each in (*there, *(each for each in valued if each[0] is None))]


def _place(value: Any) -> tuple[str, Any]:
    """Numbers among numbers, texts among texts."""
    return ("number" if _is_number(value) else type(value).__name__, value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _read(model: type[Model], item: Item) -> Model:
    return model.model_validate(item, extra="ignore")


def _fields(model: type[Document]) -> dict[str, str]:
    """The names in its documents, and what we call them."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def _value(document: Document, field: str) -> Any:
    """As it is compared: a quantity is a text in documents, and a list is as long as it is."""
    value = getattr(document, field)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value)
    return str(value) if isinstance(value, list | dict | tuple | Document) else value
