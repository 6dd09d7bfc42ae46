"""`billing usage …`: usage that should not have been reported."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import typer

from api.usage import Voided
from cli.calling import Api
from cli.consent import Decision, Prospect, agreed
from cli.options import example
from cli.words import reason_given, say

app = typer.Typer(help="What customers consumed.", no_args_is_help=True)


@app.command(epilog=example("usage void acme-corp evt-001 --reason 'sent twice'"))
@agreed
def void(
    customer_id: Annotated[str, typer.Argument(metavar="CUSTOMER")],
    event_id: Annotated[str, typer.Argument(metavar="EVENT", help="As it was reported.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the event.")],
) -> Decision:
    """Never bill an event that no invoice has, or only a draft that a check stopped. It stays, with
    the reason; report what is right under another event id."""
    wanted = {"customerId": customer_id, "eventId": event_id, "reason": reason_given(reason)}

    async def decided(api: Api) -> Prospect:
        words = f"Event {event_id} of {customer_id} would never be billed."
        return Prospect([words], partial(_void, api, wanted))

    return decided


async def _void(api: Api, wanted: Mapping[str, str]) -> None:
    voided = (await api.post("/api/v1/usage/void", wanted)).read(Voided)
    which = f"Event {wanted['eventId']} of {wanted['customerId']}"
    if voided.repeated:
        say(f"{which} was voided before: {voided.reason}")
    else:
        say(f"{which} will never be billed.")
