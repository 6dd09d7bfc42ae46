"""`billing usage …`: usage that should not have been reported."""

import asyncio
from typing import Annotated

import typer

from api.usage import Voided
from cli.calling import calling
from cli.words import reason_given, say

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
    wanted = {"customerId": customer_id, "eventId": event_id, "reason": reason}
    async with calling() as api:
        voided = (await api.post("/api/v1/usage/void", wanted)).read(Voided)
    if voided.repeated:
        return f"Event {event_id} of {customer_id} was voided before: {voided.reason}"
    return f"Event {event_id} of {customer_id} will never be billed."
