"""`billing usage …`: what was reported, and what should not have been."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import typer

from api.documents.usage import CountedUsage, Voided
from cli.calling import Api
from cli.consent import Decision, Prospect, agreed
from cli.listing import Listing, listed, pages
from cli.options import Customer, Moment, example, moment
from cli.words import reason_given, say

app = typer.Typer(help="What customers consumed.", no_args_is_help=True)

COLUMNS: Mapping[str, Callable[[CountedUsage], object]] = {
    "eventId": lambda each: each.event_id,
    "customerId": lambda each: each.customer_id,
    "resourceType": lambda each: each.resource_type,
    "quantity": lambda each: each.quantity,
    "occurredAt": lambda each: each.occurred_at,
    "invoiceId": lambda each: each.invoice_id,
    "voidReason": lambda each: each.void_reason,
}


@app.command("list", epilog=example("usage list --customer acme-corp --period 2026-05"))
@listed
def list_(
    customer: Customer = None,
    period: Annotated[str | None, typer.Option(help="Of a month, as 2026-05.")] = None,
    resource_type: Annotated[str | None, typer.Option(help="Only of this.")] = None,
    invoice: Annotated[str | None, typer.Option(help="Only what this one bills.")] = None,
    voided: Annotated[
        bool | None,
        typer.Option("--voided/--not-voided", help="Only what is never billed, or only the rest."),
    ] = None,
    since: Moment = None,
    until: Moment = None,
) -> Listing[CountedUsage]:
    """List usage events as they are kept, what happened last first."""
    query = {
        "customerId": customer,
        "period": period,
        "resourceType": resource_type,
        "invoiceId": invoice,
        "voided": None if voided is None else str(voided).lower(),
        "from": moment(since),
        "to": moment(until),
    }
    return Listing(CountedUsage, pages("/api/v1/usage", query), COLUMNS, "No usage.")


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
