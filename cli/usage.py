"""`billing usage …`: usage that should not have been reported."""

import asyncio
from typing import Annotated

import typer
from sqlalchemy import Row

from cli.system import Refused, connected
from cli.words import reason_given, say
from domain.invoice import InvoiceStatus
from domain.period import Period
from store import customer, invoice, usage
from store.database import Transaction

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
    async with connected() as system, system.database.begin() as tx:
        await usage.lock(tx, customer_id)
        await _reopen_if_skipped(tx, await usage.invoice_of(tx, customer_id, event_id))
        if await usage.void(tx, customer_id, event_id, reason):
            await _require_decided(tx, customer_id, event_id)
            return f"Event {event_id} of {customer_id} will never be billed."
        before = await usage.why_void(tx, customer_id, event_id)
        if before is not None:
            return f"Event {event_id} of {customer_id} was voided before: {before}"
        has_it = await usage.invoice_of(tx, customer_id, event_id)
        if has_it is None:
            raise Refused(f"There is no event {event_id} of {customer_id}.")
        raise Refused(_why_not(has_it, event_id))


async def _reopen_if_skipped(tx: Transaction, has_it: Row[str, str] | None) -> None:
    """Nothing was billed: whoever settles the month, or what comes late of it, counts anew."""
    if has_it is not None and has_it.status == InvoiceStatus.SKIPPED.value:
        await invoice.discard_draft(tx, has_it.id)
        await usage.release(tx, has_it.id)


async def _require_decided(tx: Transaction, customer_id: str, event_id: str) -> None:
    """Raise `Refused` while a draft has late usage of the event's month: it is priced beside what
    else was used in that month, and would be issued as if the event counted."""
    whose = await customer.find(tx, customer_id)
    at = await usage.occurred_at(tx, customer_id, event_id)
    if whose is None or at is None:
        return
    month = str(Period.containing(at, whose.time_zone))
    for draft in await invoice.open_drafts(tx, customer_id):
        if draft.month == month != draft.period:
            waits = draft.status == InvoiceStatus.AWAITING_APPROVAL.value
            how = "waits for approval: decide it" if waits else "is being made: let it be issued"
            raise Refused(f"The draft of {draft.period} has usage of {month} and {how} first.")


def _why_not(has_it: Row[str, str], event_id: str) -> str:
    id_, status = has_it
    if status == InvoiceStatus.AWAITING_APPROVAL.value:
        return f"The draft {id_} has event {event_id} and waits for approval: reject it first."
    if status == InvoiceStatus.DRAFT.value:
        return f"The draft {id_} with event {event_id} is being made: try again in a moment."
    stays = "what is issued stays as it is, unless it is cancelled"
    return f"Invoice {id_} has event {event_id}: {stays}."
