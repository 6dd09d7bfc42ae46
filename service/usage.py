"""Usage events: read, checked and counted as they come in, over HTTP or Kafka, and voided."""

from collections.abc import Sequence
from datetime import timedelta

from domain.access import SYSTEM, Access
from domain.audit import Action, Entry, Noun, actor
from domain.errors import InvalidRequest, NotFound, Rejected, UsageBilled
from domain.invoice import InvoiceState, InvoiceStatus
from domain.period import Period
from domain.usage import CountedEvent, Receipt, UsageEvent, Wanted, refused, untimely
from domain.usage_document import named, read
from service.audit import looked_through
from service.desk import Desk
from store import audit, clock, customer, invoice, usage
from store.database import Database, Transaction
from store.page import Page, Place


async def take(database: Database, documents: Sequence[object], late: timedelta) -> list[Receipt]:
    """Count what can be counted, in one transaction; a receipt for each document, in order.

    A document that could not even be read is a `Rejected` that says why.
    """
    found = [_read(document) for document in documents]
    async with database.begin(SYSTEM) as tx:
        events = [each for each in found if isinstance(each, UsageEvent)]
        counted = iter(await count(tx, events, late))
    return [each if isinstance(each, Receipt) else next(counted) for each in found]


async def count(tx: Transaction, events: Sequence[UsageEvent], late: timedelta) -> list[Receipt]:
    """Count those whose time it is; a receipt for each, in order."""
    now = await clock.now(tx)
    refusals = [untimely(each, now, late) for each in events]
    timely = [each for each, refusal in zip(events, refusals, strict=True) if refusal is None]
    counted = iter(await usage.ingest(tx, timely))
    return [refusal or next(counted) for refusal in refusals]


def _read(document: object) -> UsageEvent | Receipt:
    if isinstance(document, Rejected):
        return refused(None, document)
    try:
        return read(document)
    except Rejected as refusal:
        return refused(named(document), refusal)


async def listed(
    desk: Desk, access: Access, wanted: Wanted, place: Place | None, limit: int
) -> Page[CountedEvent]:
    """Those below a place, what happened last first. Raises `InvalidRequest` where nothing says of
    whom they are: a month has no bounds then, and those of everybody have no end."""
    whose = wanted.customer_id
    if whose is None and (wanted.invoice_id is None or wanted.period is not None):
        instead = "" if wanted.period is not None else " or invoiceId"
        raise InvalidRequest(f"customerId{instead}: is needed.")
    async with desk.database.read(access.scope) as tx:
        if whose is not None and wanted.period is not None:
            known = await customer.find(tx, whose)
            if known is None:
                raise NotFound(f"There is no customer {whose}.")
            wanted = wanted.by(known.time_zone)
        found = await usage.listed(tx, wanted, place, limit)
    await looked_through(desk, access, Noun.USAGE_EVENT, whose)
    return found


async def void(
    desk: Desk, access: Access, customer_id: str, event_id: str, reason: str
) -> str | None:
    """Never bill an event that no invoice has, or only a draft that a check stopped. Returns the
    reason for which it was voided before, if it was. Raises `NotFound` and `UsageBilled`."""
    async with desk.database.begin(access.scope) as tx:
        await usage.lock(tx, customer_id)
        await _reopen_if_skipped(tx, await usage.invoice_of(tx, customer_id, event_id))
        if await usage.void(tx, customer_id, event_id, reason):
            await _require_decided(tx, customer_id, event_id)
            who, what = actor(access), Action.USAGE_VOIDED
            entry = Entry(who, what, Noun.USAGE_EVENT, event_id, customer_id, reason=reason)
            await audit.append(tx, entry)
            return None
        before = await usage.why_void(tx, customer_id, event_id)
        if before is not None:
            return before
        has_it = await usage.invoice_of(tx, customer_id, event_id)
    if has_it is None:
        raise NotFound(f"There is no event {event_id} of {customer_id}.")
    raise UsageBilled(_why_not(has_it, event_id))


async def _reopen_if_skipped(tx: Transaction, has_it: InvoiceState | None) -> None:
    """Nothing was billed: whoever settles the month, or what comes late of it, counts anew."""
    if has_it is not None and has_it.status is InvoiceStatus.SKIPPED:
        await invoice.discard_draft(tx, has_it.id)
        await usage.release(tx, has_it.id)


async def _require_decided(tx: Transaction, customer_id: str, event_id: str) -> None:
    """Raise `UsageBilled` while a draft has late usage of the event's month: it is priced beside
    what else was used in that month, and would be issued as if the event counted."""
    found = await customer.find(tx, customer_id)
    at = await usage.occurred_at(tx, customer_id, event_id)
    if found is None or at is None:
        return
    month = str(Period.containing(at, found.time_zone))
    for draft in await invoice.open_drafts(tx, customer_id):
        if draft.month == month != draft.period:
            waits = draft.status is InvoiceStatus.AWAITING_APPROVAL
            how = "waits for approval: decide it" if waits else "is being made: let it be issued"
            raise UsageBilled(f"The draft of {draft.period} has usage of {month} and {how} first.")


def _why_not(has_it: InvoiceState, event_id: str) -> str:
    id_, status = has_it.id, has_it.status
    if status is InvoiceStatus.AWAITING_APPROVAL:
        return f"The draft {id_} has event {event_id} and waits for approval: reject it first."
    if status is InvoiceStatus.DRAFT:
        return f"The draft {id_} with event {event_id} is being made: try again in a moment."
    stays = "what is issued stays as it is, unless it is cancelled"
    return f"Invoice {id_} has event {event_id}: {stays}."
