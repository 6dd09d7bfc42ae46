"""`billing usage …`: usage that should not have been reported."""

import asyncio
from typing import Annotated

import typer

from cli.system import connected
from cli.words import reason_given, say
from service import usage

app = typer.Typer(help="What customers consumed.", no_args_is_help=True)


@app.command()
def void(
    customer_id: Annotated[str, typer.Argument(metavar="CUSTOMER")],
    event_id: Annotated[str, typer.Argument(metavar="EVENT", help="As it was reported.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the event.")],
) -> None:
    """Never bill an event that no invoice has, or only a draft that a check stopped. It stays, with
    the reason; report what is right under another event id."""
    say(asyncio.run(_void(customer_id, event_id, reason_given(reason))))


async def _void(customer_id: str, event_id: str, reason: str) -> str:
    async with connected() as system:
        before = await usage.void(system.desk, system.access, customer_id, event_id, reason)
    if before is not None:
        return f"Event {event_id} of {customer_id} was voided before: {before}"
    return f"Event {event_id} of {customer_id} will never be billed."
