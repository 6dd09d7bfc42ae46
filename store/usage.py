"""Usage events: counted once for ever, claimed by one invoice at a time."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Date,
    DateTime,
    Executable,
    FromClause,
    Row,
    ScalarSelect,
    Select,
    Text,
    bindparam,
    cast,
    collate,
    func,
    literal,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from domain.invoice import InvoiceState, InvoiceStatus
from domain.period import Period
from domain.usage import (
    Aggregate,
    CountedEvent,
    Identity,
    Receipt,
    UsageEvent,
    Wanted,
    receipts,
)
from store import advisory_lock
from store.database import Transaction
from store.invoice import STOPPED
from store.page import Order, Page, Place, matching, page, within
from store.tables import invoices, usage_events

_COUNT = text("""
WITH incoming AS (
    SELECT *
    FROM ROWS FROM (
        json_to_recordset(CAST(:events AS json)) AS (
            customer_id text, event_id text, resource_type text,
            quantity numeric, occurred_at timestamptz, payload_hash bytea
        )
    ) WITH ORDINALITY AS event (
        customer_id, event_id, resource_type, quantity, occurred_at, payload_hash, place
    )
), taken AS (
    INSERT INTO usage_identities (customer_id, event_id, payload_hash)
    SELECT customer_id, event_id, payload_hash
    FROM incoming JOIN customers ON customers.id = customer_id
    ORDER BY place
    ON CONFLICT DO NOTHING
    RETURNING customer_id, event_id
), counted AS (
    INSERT INTO usage_events (customer_id, event_id, resource_type, quantity, occurred_at)
    SELECT customer_id, event_id, resource_type, quantity, occurred_at
    FROM incoming JOIN taken USING (customer_id, event_id)
)
SELECT customer_id, event_id FROM taken
""")

_KNOWN = text("""
SELECT customer_id, event_id, payload_hash
FROM unnest(CAST(:customer_ids AS text[]), CAST(:event_ids AS text[])) AS wanted (
    customer_id, event_id
)
JOIN usage_identities USING (customer_id, event_id)
""")


UNCLAIMED = usage_events.c.invoice_id.is_(None) & usage_events.c.void_reason.is_(None)
"""What the next invoice takes."""


_LISTED = Order((usage_events.c.occurred_at, usage_events.c.id), usage_events.c.created_xid)


def in_turn(customer_id: ColumnElement[str]) -> ColumnElement[None]:
    """What `lock` does, to be part of another statement: which itself does not see yet what it
    waited for."""
    name = literal("usage/").concat(customer_id)
    return func.pg_advisory_xact_lock(func.hashtextextended(name, 0))


_TIMES = ARRAY(DateTime(timezone=True))


def _sums(events: FromClause) -> Select[Any]:
    """What these events come to, per month and resource."""
    event = events.c
    place = func.width_bucket(event.occurred_at, bindparam("begins", type_=_TIMES)).label("place")
    lines = func.string_agg(event.event_id.concat("\n"), "")
    in_byte_order = lines.aggregate_order_by(collate(event.event_id, "C"))
    digest = func.encode(func.sha256(func.convert_to(in_byte_order, "UTF8")), "hex")
    return (
        select(
            event.resource_type,
            place,
            func.sum(event.quantity).label("quantity"),
            func.count().label("events"),
            func.min(event.occurred_at).label("first_at"),
            func.max(event.occurred_at).label("last_at"),
            digest.label("digest"),
        )
        .group_by("place", event.resource_type)
        .order_by("place", event.resource_type)
    )


def select_first_free(
    customer_id: ColumnElement[str], before: ColumnElement[datetime]
) -> ScalarSelect[datetime]:
    """When the first event happened that the next invoice may claim, to be part of another
    statement."""
    return _first(_free(customer_id, before))


def _free(customer_id: ColumnElement[str], before: ColumnElement[datetime]) -> ColumnElement[bool]:
    event = usage_events.c
    return (event.customer_id == customer_id) & UNCLAIMED & (event.occurred_at < before)


def _first(which: ColumnElement[bool]) -> ScalarSelect[datetime]:
    return select(func.min(usage_events.c.occurred_at)).where(which).scalar_subquery()


def _claim() -> tuple[Select[Any], Select[Any]]:
    """When the first event happened that an invoice has or may claim, and the claim itself."""
    event = usage_events.c
    taken = event.invoice_id == bindparam("invoice")
    earlier = event.occurred_at < bindparam("before")
    free = _free(bindparam("whose"), bindparam("before"))
    firsts = [_first(free), _first(taken & earlier)]
    turn = in_turn(bindparam("whose", type_=Text))
    out = (
        func.unnest(bindparam("out_from", type_=_TIMES), bindparam("out_to", type_=_TIMES))
        .table_valued("begins", "ends")
        .render_derived()
    )
    is_out = (event.occurred_at >= out.c.begins) & (event.occurred_at < out.c.ends)
    later = event.occurred_at >= bindparam("since")
    columns = (event.event_id, event.resource_type, event.quantity, event.occurred_at)
    claimed = (
        update(usage_events)
        .where(free, later, ~select(out.c.begins).where(is_out).exists())
        .values(invoice_id=bindparam("invoice"))
        .returning(*columns)
        .cte("claimed")
    )
    # What this statement changes it does not see: of its own events those that it had before.
    had = select(*columns).where(taken, earlier, later)
    return (
        select(turn, func.least(*firsts)),
        _sums(union_all(select(claimed), had).subquery("has")),
    )


_SINCE, _CLAIM = _claim()
_HAS = _sums(
    select(usage_events).where(usage_events.c.invoice_id == bindparam("invoice")).subquery()
)


async def ingest(tx: Transaction, events: Sequence[UsageEvent]) -> list[Receipt]:
    """Count events; a receipt for each, in order.

    Identity and event are one statement: neither is without the other. A concurrent ingest of the
    same event waits here until the other transaction ends. Identities are taken in byte order, so
    two calls never wait for each other in a circle; a transaction makes one call only.
    """
    if not events:
        return []
    first: dict[Identity, UsageEvent] = {}
    for event in events:
        first.setdefault(event.identity, event)
    ordered = [first[identity] for identity in sorted(first)]
    # As JSON: the driver takes twice as long to write the same as arrays, item by item.
    document = orjson.dumps([_document(event) for event in ordered]).decode()
    counted = await tx.execute(_COUNT, {"events": document})
    fresh = {(row.customer_id, row.event_id) for row in counted}
    return receipts(events, fresh, await _known(tx, [each for each in first if each not in fresh]))


def _document(event: UsageEvent) -> dict[str, object]:
    return {
        "customer_id": event.customer_id,
        "event_id": event.event_id,
        "resource_type": event.resource_type,
        "quantity": str(event.quantity),
        "occurred_at": event.occurred_at,
        "payload_hash": f"\\x{event.payload_hash.hex()}",
    }


async def _known(tx: Transaction, identities: Sequence[Identity]) -> dict[Identity, bytes]:
    """The payload hashes of those that were counted before.

    A statement of its own: the one that counts does not see what committed while it waited.
    """
    if not identities:
        return {}
    customer_ids, event_ids = zip(*identities, strict=True)
    wanted = {"customer_ids": list(customer_ids), "event_ids": list(event_ids)}
    rows = await tx.execute(_KNOWN, wanted)
    return {(row.customer_id, row.event_id): row.payload_hash for row in rows}


async def lock(tx: Transaction, customer_id: str) -> None:
    """To the commit: drafts of one customer are made one after the other, so that each sees what
    the other has claimed, and two of them cannot lock rows in two orders."""
    with advisory_lock.USAGE.time():
        await tx.execute(select(in_turn(literal(customer_id))))


async def first_to_claim(
    tx: Transaction, invoice_id: str, customer_id: str, before: datetime
) -> datetime | None:
    """When the first event happened that the invoice has or may claim. To the commit nobody else
    claims any of the customer's."""
    whose = {"whose": customer_id, "invoice": invoice_id, "before": before}
    first: datetime | None
    _, first = (await tx.execute(_SINCE, whose)).one()
    return first


async def claim(
    tx: Transaction,
    invoice_id: str,
    customer_id: str,
    since: datetime | None,
    before: datetime,
    zone: str,
    left_out: Collection[Period] = (),
) -> list[Aggregate]:
    """Claim every event of the customer that no invoice has and that happened before, but in none
    of the months `left_out`; returns what it has got, per month (of `zone`) and resource.

    An event that commits later stays free for the next claim. Partitions of months before the
    first event that is free, `since` then, are not looked at.
    """
    if since is None:
        return []
    whose = {"whose": customer_id, "invoice": invoice_id, "before": before}
    out = {
        "out_from": [each.starts_at(zone) for each in left_out],
        "out_to": [each.ends_at(zone) for each in left_out],
    }
    months = Period.containing(since, zone).until(Period.containing(before, zone))
    return await _summed(tx, _CLAIM, months, zone, {**whose, **out, "since": since})


def _within(period: Period, zone: str) -> ColumnElement[bool]:
    happened = usage_events.c.occurred_at
    return (happened >= period.starts_at(zone)) & (happened < period.ends_at(zone))


async def listed(
    tx: Transaction, wanted: Wanted, place: Place | None, limit: int
) -> Page[CountedEvent]:
    """What happened last first, below a place."""
    return await page(tx, _matching(wanted), _LISTED, place, limit, _counted)


async def after(
    tx: Transaction, wanted: Wanted, last: CountedEvent | None, limit: int
) -> list[CountedEvent]:
    """What happened first first, behind an event: of what no event is added to any more."""
    query = _matching(wanted).order_by(*_LISTED.key).limit(limit)
    if last is not None:
        behind = tuple_(*(literal(each) for each in (last.occurred_at, last.id)))
        query = query.where(tuple_(*_LISTED.key) > behind)
    return [_counted(row) for row in await tx.execute(query)]


def _matching(wanted: Wanted) -> Select[Any]:
    event = usage_events.c
    named = {
        event.customer_id: wanted.customer_id,
        event.invoice_id: wanted.invoice_id,
        event.resource_type: wanted.resource_type,
    }
    in_time = within(event.occurred_at, wanted.since, wanted.until)
    query = select(usage_events).where(*matching(named), *in_time)
    if wanted.voided is None:
        return query
    void = event.void_reason.is_not(None)
    return query.where(void if wanted.voided else ~void)


def _counted(row: Row[Any]) -> CountedEvent:
    return CountedEvent(
        id=row.id,
        customer_id=row.customer_id,
        event_id=row.event_id,
        resource_type=row.resource_type,
        quantity=row.quantity,
        occurred_at=row.occurred_at,
        received_at=row.received_at,
        invoice_id=row.invoice_id,
        void_reason=row.void_reason,
    )


async def void(tx: Transaction, customer_id: str, event_id: str, reason: str) -> bool:
    """The event is never billed, and stays, with the reason; False unless it is free: nobody voided
    it before, and no invoice has it but a draft that a check stopped, which is made anew anyway.
    Its identity stays taken."""
    stopped = select(invoices.c.id).where(invoices.c.customer_id == customer_id, STOPPED)
    event = usage_events.c
    voided = update(usage_events).where(
        event.customer_id == customer_id,
        event.event_id == event_id,
        UNCLAIMED | event.invoice_id.in_(stopped),
    )
    return (await tx.execute(voided.values(void_reason=reason, invoice_id=None))).rowcount == 1


async def invoice_of(tx: Transaction, customer_id: str, event_id: str) -> InvoiceState | None:
    """The invoice or draft that has the event."""
    query = select(invoices.c.id, invoices.c.status).join(
        usage_events, usage_events.c.invoice_id == invoices.c.id
    )
    wanted = (usage_events.c.customer_id == customer_id, usage_events.c.event_id == event_id)
    row = (await tx.execute(query.where(*wanted))).first()
    return None if row is None else InvoiceState(row.id, InvoiceStatus(row.status))


async def occurred_at(tx: Transaction, customer_id: str, event_id: str) -> datetime | None:
    """None when there is no such event."""
    wanted = (usage_events.c.customer_id == customer_id, usage_events.c.event_id == event_id)
    return (await tx.execute(select(usage_events.c.occurred_at).where(*wanted))).scalar()


async def why_void(tx: Transaction, customer_id: str, event_id: str) -> str | None:
    """None unless somebody voided the event."""
    query = select(usage_events.c.void_reason).where(
        usage_events.c.customer_id == customer_id,
        usage_events.c.event_id == event_id,
        usage_events.c.invoice_id.is_(None),
    )
    return (await tx.execute(query)).scalar()


async def release(tx: Transaction, invoice_id: str) -> int:
    """Free the events of an invoice for the next claim; returns how many."""
    claimed = update(usage_events).where(usage_events.c.invoice_id == invoice_id)
    return (await tx.execute(claimed.values(invoice_id=None))).rowcount


async def release_late(tx: Transaction, invoice_id: str, period: Period, zone: str) -> int:
    """Free those that did not happen in the invoice's own month; returns how many."""
    late = update(usage_events).where(
        usage_events.c.invoice_id == invoice_id, ~_within(period, zone)
    )
    return (await tx.execute(late.values(invoice_id=None))).rowcount


async def aggregates(tx: Transaction, invoice_id: str, zone: str) -> list[Aggregate]:
    """What an invoice has claimed, made of the events themselves; oldest month of `zone` first."""
    event = usage_events.c
    span = select(func.min(event.occurred_at), func.max(event.occurred_at))
    first, last = (await tx.execute(span.where(event.invoice_id == invoice_id))).one()
    if first is None:
        return []
    months = Period.containing(first, zone).until(Period.containing(last, zone))
    return await _summed(tx, _HAS, months, zone, {"invoice": invoice_id})


async def _summed(
    tx: Transaction,
    sums: Executable,
    months: Sequence[Period],
    zone: str,
    values: Mapping[str, Any],
) -> list[Aggregate]:
    """Of events that happened in these months."""
    begins = [month.starts_at(zone) for month in months]
    return [
        Aggregate(
            row.resource_type,
            months[row.place - 1],
            row.quantity,
            row.events,
            row.first_at,
            row.last_at,
            row.digest,
        )
        for row in await tx.execute(sums, {**values, "begins": begins})
    ]


async def make_partitions(tx: Transaction, first: Period, last: Period) -> None:
    """See that each month (of UTC) has its partition.

    Events that came before their partition move into it from the default one. Making one locks the
    table for a moment: whoever cannot get the lock within 2 s gives up, instead of holding up the
    events behind it.
    """
    months = [date(month.year, month.month, 1) for month in first.until(last)]
    await tx.execute(text("SET LOCAL lock_timeout = '2s'"))
    each_month = func.unnest(cast(months, ARRAY(Date))).column_valued("month")
    await tx.execute(select(func.make_usage_partition(each_month)))


async def without_partition(tx: Transaction, first: Period, last: Period) -> list[Period]:
    """Of these months those that have none."""
    parts = await tx.execute(
        text(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid "
            "WHERE inhparent = 'usage_events'::regclass"
        )
    )
    there = set(parts.scalars())
    return [
        month
        for month in first.until(last)
        if f"usage_events_{month.year:04}_{month.month:02}" not in there
    ]


async def in_default_partition(tx: Transaction) -> int:
    """Events outside every month's partition: more than none is an alarm."""
    count = await tx.execute(text("SELECT count(*) FROM usage_events_default"))
    return int(count.scalar_one())
