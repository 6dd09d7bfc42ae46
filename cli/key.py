"""`billing key …`: the keys with which customers and services call the API."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.system import Refused, connected
from cli.words import duration, say
from domain import api_key as rules
from domain.access import OPERATOR
from domain.api_key import ApiKey
from domain.identifier import has_form
from domain.roles import Role, TokenScope
from runtime import api_keys
from service import key
from service.key import Issued, NewKey

app = typer.Typer(help="Keys with which customers and services call the API.", no_args_is_help=True)

PAGE = 200

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The eight characters after dbk_live_.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people: what it is used for.")],
    role: Annotated[Role, typer.Option(help="customer or service.")] = Role.SERVICE,
    customer: Annotated[str, typer.Option(help="Whose, for the role customer.")] = "",
    scope: Annotated[
        list[TokenScope] | None,
        typer.Option(help="What it may be used for; may be repeated. Without: all of its role."),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(help="From where it may be used, as 203.0.113.0/24; may be repeated."),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3_660, help="For how long it is believed.")
    ] = None,
) -> None:
    """Make a key. It is shown once, and kept nowhere."""
    if not name.strip() or len(name) > 100:
        raise Refused("A name has 1 to 100 characters.")
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    scopes = frozenset(scope) if scope else None
    wish = NewKey(name, role, customer, scopes, tuple(network or ()), expires_at)
    _show(asyncio.run(_create(wish)))


@app.command("list")
def list_(
    customer: Annotated[str | None, typer.Option(help="Only those of this customer.")] = None,
) -> None:
    """List all keys, also those that are not believed any more."""
    found = asyncio.run(_all(customer))
    if not found:
        say("There is no API key.")
    for each in found:
        say(_line(each))


@app.command()
def rotate(
    id_: KeyId,
    overlap_days: Annotated[
        int,
        typer.Option(
            min=0, max=rules.LONGEST_OVERLAP.days, help="How long the old one is believed yet."
        ),
    ] = rules.OVERLAP.days,
) -> None:
    """Make a key in place of another one. Both are the same caller."""
    _show(asyncio.run(_rotate(_as_key_id(id_), timedelta(days=overlap_days))))


@app.command()
def revoke(id_: KeyId) -> None:
    """Believe a key no more, everywhere within 30 seconds. Harmless to repeat."""
    say(_line(asyncio.run(_revoke(_as_key_id(id_)))))


async def _create(wish: NewKey) -> Issued:
    async with connected() as system:
        return await key.create(system.desk, api_keys.ring(system.settings), OPERATOR, wish)


async def _all(customer_id: str | None) -> list[ApiKey]:
    found: list[ApiKey] = []
    async with connected() as system:
        while True:
            after = found[-1].id if found else None
            page = await key.page(system.desk, customer_id, after, PAGE)
            found += page
            if len(page) < PAGE:
                return found


async def _rotate(id_: str, overlap: timedelta) -> Issued:
    async with connected() as system:
        return await key.rotate(system.desk, api_keys.ring(system.settings), OPERATOR, id_, overlap)


async def _revoke(id_: str) -> ApiKey:
    async with connected() as system:
        return await key.revoke(system.desk, OPERATOR, id_)


def _show(issued: Issued) -> None:
    say(issued.text, style="bold")
    say(_line(issued.key))
    say("It is shown this once: put it where it is used now.")
    if issued.text.startswith("dbk_test_"):
        say("It is a key for tests, which no installation in production believes: that needs")
        say("API_KEY_SECRETS of its own, the same here as where the API runs.")


def _line(row: ApiKey) -> str:
    holder = f"{row.role} {row.customer_id}".strip()
    limits = f", {', '.join(sorted(row.scopes))} only" if row.scopes is not None else ""
    where = f", from {', '.join(row.networks)} only" if row.networks else ""
    return f"{row.id}  {row.name}: {holder}{limits}{where}, {_life(row)}, {_use(row)}"


def _life(row: ApiKey) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is None:
        return "believed"
    left = row.expires_at - datetime.now(UTC)
    return f"believed for {duration(left)} yet" if left > timedelta() else "expired"


def _use(row: ApiKey) -> str:
    if row.last_used_at is None:
        return "never used"
    return f"used {duration(datetime.now(UTC) - row.last_used_at)} ago"


def _as_key_id(text: str) -> str:
    if not has_form(text, rules.KEY_ID):
        raise Refused(
            f"{text[:20]!r} is not the id of a key: it is its eight characters after dbk_live_."
        )
    return text
