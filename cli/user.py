"""`billing user`: the people who log in at our own issuer."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer

from api.ended import Ended
from api.fields import Document
from auth.attempts import Attempts
from cli.listing import Found, Listing, Read, listed
from cli.options import example
from cli.realm import Keeper, connected
from cli.refused import Refused
from cli.words import say
from domain.roles import Role
from domain.user import User
from service import user
from service.password import Passwords


class Person(Document):
    """Somebody who may log in, or might."""

    id: str
    name: str
    roles: list[Role]
    customer_id: str | None
    created_at: datetime
    disabled_at: datetime | None


COLUMNS: Mapping[str, Callable[[Person], object]] = {
    "name": lambda each: each.name,
    "roles": lambda each: each.roles,
    "customerId": lambda each: each.customer_id,
    "disabledAt": lambda each: each.disabled_at,
    "id": lambda each: each.id,
}

app = typer.Typer(help="The people who log in at our own issuer.", no_args_is_help=True)

Result = TypeVar("Result")

Name = Annotated[str, typer.Argument(help="What they log in with, in small letters.")]
Roles = Annotated[list[Role], typer.Option("--role", help="What they are; more than one goes.")]
Customer = Annotated[
    str | None, typer.Option("--customer", help="Whose things they see, as a customer.")
]


@app.command(epilog=example("user create lee --role operator --role finance"))
def create(name: Name, role: Roles, customer: Customer = None) -> None:
    """Let somebody in. The password is asked for, or read from standard input."""
    password = _password()

    async def made(keeper: Keeper) -> User:
        return await user.create(
            keeper.realm, keeper.access, Passwords(), name, password, set(role), customer
        )

    say(f"{name} can log in, as {_roles(asyncio.run(_with(made)))}.")


@app.command("list", epilog=example("user list --csv"))
@listed
def list_() -> Listing[Person]:
    """List everybody, also those who are not let in any more."""
    nothing = "Nobody can log in: billing user create NAME --role admin"
    return Listing(Person, _everybody, COLUMNS, nothing)


@app.command(epilog=example("user disable lee"))
def disable(name: Name) -> None:
    """Let somebody in no more: sessions end at once, and nothing is changed with their tokens."""

    async def disabled(keeper: Keeper) -> list[str]:
        return await _told(keeper, await user.disable(keeper.realm, keeper.access, name))

    say(f"{name} cannot log in any more; {len(asyncio.run(_with(disabled)))} sessions ended.")


@app.command(epilog=example("user set-password lee"))
def set_password(name: Name) -> None:
    """Give somebody another password, asked for or read from standard input; who knew the old one
    is logged out."""
    password = _password()

    async def given(keeper: Keeper) -> list[str]:
        ended = await user.set_password(keeper.realm, keeper.access, Passwords(), name, password)
        return await _told(keeper, ended)

    say(f"{name} has another password; {len(asyncio.run(_with(given)))} sessions ended.")


@app.command(epilog=example("user set-roles lee --role finance"))
def set_roles(name: Name, role: Roles, customer: Customer = None) -> None:
    """Make somebody something else, within ten minutes."""

    async def changed(keeper: Keeper) -> None:
        await user.set_roles(keeper.realm, keeper.access, name, set(role), customer)

    asyncio.run(_with(changed))
    say(f"{name} is {', '.join(role)} now, and sees so within ten minutes.")


@app.command(epilog=example("user unlock lee"))
def unlock(name: Name) -> None:
    """Let somebody try again at once who had too many wrong passwords."""

    async def unlocked(keeper: Keeper) -> None:
        await user.unlocked(keeper.realm, keeper.access, name)
        attempts = Attempts(keeper.settings.redis_url)
        try:
            await attempts.unlock(name)
        finally:
            await attempts.close()

    asyncio.run(_with(unlocked))
    say(f"{name} may try again.")


async def _with(work: Callable[[Keeper], Awaitable[Result]]) -> Result:
    async with connected() as keeper:
        return await work(keeper)


async def _told(keeper: Keeper, sessions: list[str]) -> list[str]:
    """Whoever asks our issuer at each request hears it at once."""
    ended = Ended(keeper.settings.redis_url)
    try:
        await ended.add(sessions)
    finally:
        await ended.close()
    return sessions


def _password() -> str:
    """Never an argument: those are read by everybody on the machine."""
    if sys.stdin.isatty():
        typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return typed
    given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise Refused("Type the password, or send it as a line on standard input.")
    return given


def _roles(known: User) -> str:
    return ", ".join(role for role in Role if role in known.roles)


@asynccontextmanager
async def _everybody() -> AsyncIterator[Read]:
    async with connected() as keeper:

        async def read(limit: int) -> Found:
            rows = [_document(each) for each in await user.everybody(keeper.realm)]
            return Found(rows[:limit], more=len(rows) > limit)

        yield read


def _document(known: User) -> dict[str, Any]:
    return Person(
        id=known.id,
        name=known.name,
        roles=[role for role in Role if role in known.roles],
        customerId=known.customer_id,
        createdAt=known.created_at,
        disabledAt=known.disabled_at,
    ).model_dump(mode="json")
