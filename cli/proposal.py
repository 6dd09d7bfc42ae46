"""`billing proposal`: large decisions that wait for a second person."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import orjson
import typer

from api.documents.proposal import Proposal
from cli.calling import Api, calling
from cli.listing import Found, Listing, answers, listed
from cli.options import EXAMPLE_ID, as_id, example
from cli.words import reason_given, say

app = typer.Typer(help="Decisions that wait for a second person.", no_args_is_help=True)

PATH = "/api/v1/proposals"
PAGE = 200

COLUMNS: Mapping[str, Callable[[Proposal], object]] = {
    "id": lambda each: each.id,
    "proposedBy": lambda each: each.proposed_by,
    "holdsUntil": lambda each: each.holds_until,
    "what": lambda each: f"To {each.what}",
    "reason": lambda each: each.reason,
}


@app.command("list", epilog=example("proposal list --watch"))
@listed
def list_() -> Listing[Proposal]:
    """List what waits for a second person, oldest first."""
    return Listing(Proposal, answers(_list), COLUMNS, "No proposals.")


@app.command(epilog=example(f"proposal withdraw {EXAMPLE_ID} --reason 'not yet'"))
def withdraw(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a proposal.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit trail.")],
) -> None:
    """Let nobody agree to it any more."""
    asyncio.run(_withdraw(as_id(id_), reason_given(reason)))
    say("The proposal is withdrawn.")


async def _list(api: Api, limit: int) -> Found:
    found: list[Any] = []
    while len(found) <= limit:
        size = min(PAGE, limit + 1 - len(found))
        last = found[-1]["id"] if found else None
        page = orjson.loads((await api.get(PATH, after=last, size=size)).text)["items"]
        found += page
        if len(page) < size:
            break
    return Found(found[:limit], more=len(found) > limit)


async def _withdraw(id_: str, reason: str) -> None:
    async with calling() as api:
        await api.delete(f"{PATH}/{id_}", reason=reason)
