"""`billing key …`: the keys with which customers and services call the API."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

import orjson
import typer

from api.documents.key import IssuedKey, KeyDocument
from cli.calling import Api, calling
from cli.listing import Found, Listing, answers, listed
from cli.options import example
from cli.refused import Refused
from cli.words import duration, say
from domain import api_key as rules
from domain.identifier import has_form
from domain.roles import Role, TokenScope

PATH = "/api/v1/keys"

app = typer.Typer(help="Keys with which customers and services call the API.", no_args_is_help=True)

PAGE = 200

COLUMNS: Mapping[str, Callable[[KeyDocument], object]] = {
    "id": lambda each: each.id,
    "name": lambda each: each.name,
    "role": lambda each: each.role,
    "customerId": lambda each: each.customer_id,
    "scopes": lambda each: None if each.scopes is None else sorted(each.scopes),
    "allowedNetworks": lambda each: each.allowed_networks,
    "expiresAt": lambda each: _life(each),
    "lastUsedAt": lambda each: _use(each),
}

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The eight characters after dbk_live_.")]


@app.command(epilog=example("key create metering --scope billing.usage --network 203.0.113.0/24"))
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
    wish: dict[str, Any] = {"name": name, "role": role, "allowedNetworks": network or []}
    if customer:
        wish["customerId"] = customer
    if scope:
        wish["scopes"] = scope
    if days is not None:
        wish["expiresAt"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    _show(asyncio.run(_create(wish)))


@app.command("list", epilog=example("key list --customer acme-corp --sort -lastUsedAt"))
@listed
def list_(
    customer: Annotated[str | None, typer.Option(help="Only those of this customer.")] = None,
) -> Listing[KeyDocument]:
    """List all keys, also those that are not believed any more."""
    return Listing(KeyDocument, answers(partial(_all, customer)), COLUMNS, "There is no API key.")


@app.command(epilog=example("key rotate k7m2p9xq --overlap-days 1"))
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
    _show(asyncio.run(_rotate(_as_key_id(id_), overlap_days)))


@app.command(epilog=example("key revoke k7m2p9xq"))
def revoke(id_: KeyId) -> None:
    """Believe a key no more, everywhere within 30 seconds. Harmless to repeat."""
    say(_line(asyncio.run(_revoke(_as_key_id(id_)))))


async def _create(wish: Mapping[str, Any]) -> IssuedKey:
    async with calling() as api:
        return (await api.post(PATH, wish)).read(IssuedKey)


async def _all(customer_id: str | None, api: Api, limit: int) -> Found:
    found: list[Any] = []
    after = None
    while len(found) < limit:
        size = min(PAGE, limit - len(found))
        page = orjson.loads(
            (await api.get(PATH, customerId=customer_id, after=after, size=size)).text
        )
        found += page["keys"]
        if (after := page["next"]) is None:
            break
    return Found(found, more=after is not None)


async def _rotate(id_: str, overlap_days: int) -> IssuedKey:
    async with calling() as api:
        answer = await api.post(f"{PATH}/{id_}/rotate", {"overlapDays": overlap_days})
    return answer.read(IssuedKey)


async def _revoke(id_: str) -> KeyDocument:
    async with calling() as api:
        return (await api.post(f"{PATH}/{id_}/revoke")).read(KeyDocument)


def _show(issued: IssuedKey) -> None:
    say(issued.key, style="bold")
    say(_line(issued.details))
    say("It is shown this once: put it where it is used now.")
    if issued.key.startswith("dbk_test_"):
        say("It is a key for tests, which no installation in production believes: such a one has")
        say("API_KEY_SECRETS of its own.")


def _line(row: KeyDocument) -> str:
    holder = f"{row.role} {row.customer_id or ''}".strip()
    limits = f", {', '.join(sorted(row.scopes))} only" if row.scopes is not None else ""
    where = f", from {', '.join(row.allowed_networks)} only" if row.allowed_networks else ""
    return f"{row.id}  {row.name}: {holder}{limits}{where}, {_life(row)}, {_use(row)}"


def _life(row: KeyDocument) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is None:
        return "believed"
    left = row.expires_at - datetime.now(UTC)
    return f"believed for {duration(left)} yet" if left > timedelta() else "expired"


def _use(row: KeyDocument) -> str:
    if row.last_used_at is None:
        return "never used"
    return f"used {duration(datetime.now(UTC) - row.last_used_at)} ago"


def _as_key_id(text: str) -> str:
    if not has_form(text, rules.KEY_ID):
        raise Refused(
            f"{text[:20]!r} is not the id of a key: it is its eight characters after dbk_live_."
        )
    return text
