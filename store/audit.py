"""The audit trail: entries are added in the transaction of what they tell of, and stay."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
)

from domain.audit import Action, Actor, AuditEntry, Entry, Noun, Seal, Wanted
from store import change
from store.change import Change
from store.database import Transaction
from store.page import Order, Page, Place, matching, page, within
from store.tables import audit_entries, audit_seals

_APPEND = """
audited AS (
    INSERT INTO audit_entries (
        actor_type, actor_id, ip, user_agent, trace_id, request_id,
        action, target_type, target_id, customer_id, before, after, reason
    )
    SELECT
        actor_type, actor_id, ip, user_agent, trace_id, request_id,
        action, target_type, target_id, customer_id,
        CAST(before AS jsonb), CAST(after AS jsonb), reason
    FROM unnest(
        CAST(:audit_actor_types AS text[]), CAST(:audit_actor_ids AS text[]),
        CAST(:audit_ips AS text[]), CAST(:audit_user_agents AS text[]),
        CAST(:audit_trace_ids AS text[]), CAST(:audit_request_ids AS text[]),
        CAST(:audit_actions AS text[]), CAST(:audit_target_types AS text[]),
        CAST(:audit_target_ids AS text[]), CAST(:audit_customer_ids AS text[]),
        CAST(:audit_befores AS text[]), CAST(:audit_afters AS text[]),
        CAST(:audit_reasons AS text[])
    ) WITH ORDINALITY AS entry (
        actor_type, actor_id, ip, user_agent, trace_id, request_id,
        action, target_type, target_id, customer_id, before, after, reason, place
    )
    ORDER BY place
    RETURNING id
)"""


LAST = 2**63 - 1
_ENTRIES = select(audit_entries)
_SEALS = select(audit_seals)
_LISTED = Order((audit_entries.c.id,), audit_entries.c.created_xid)
_PLACE = tuple_(audit_entries.c.created_xid, audit_entries.c.id)


_NOTED = text("""
INSERT INTO audit_entries (
    actor_type, actor_id, ip, user_agent, trace_id, request_id, action, target_type, target_id,
    customer_id, viewed_from
)
SELECT
    :actor_type, :actor_id, :ip, :user_agent, :trace_id, :request_id, :action, :target_type,
    :target_id, :customer_id, date_bin('10 minutes', now(), 'epoch')
WHERE NOT EXISTS (
    SELECT FROM audit_entries
    WHERE actor_id = :actor_id AND target_type = :target_type AND target_id = :target_id
        AND viewed_from = date_bin('10 minutes', now(), 'epoch')
)
ON CONFLICT DO NOTHING
""").bindparams(
    *(
        bindparam(name, type_=Text)
        for name in (
            *("actor_type", "actor_id", "ip", "user_agent", "trace_id", "request_id"),
            *("action", "target_type", "target_id", "customer_id"),
        )
    )
)
"""Looked for first: most often it is there, and a look writes nothing."""


async def append(tx: Transaction, *entries: Entry) -> None:
    """Note who did what, with what they did."""
    if entries:
        await change.make(tx, appending(*entries))


def appending(*entries: Entry) -> Change:
    """The same as a part of a statement."""
    sources = [entry.actor.source for entry in entries]
    values = {
        "audit_actor_types": [entry.actor.type for entry in entries],
        "audit_actor_ids": [entry.actor.id for entry in entries],
        "audit_ips": [source.ip for source in sources],
        "audit_user_agents": [source.user_agent for source in sources],
        "audit_trace_ids": [source.trace_id for source in sources],
        "audit_request_ids": [source.request_id for source in sources],
        "audit_actions": [entry.action for entry in entries],
        "audit_target_types": [entry.noun for entry in entries],
        "audit_target_ids": [entry.target_id for entry in entries],
        "audit_customer_ids": [entry.customer_id for entry in entries],
        "audit_befores": [_json(entry.before) for entry in entries],
        "audit_afters": [_json(entry.after) for entry in entries],
        "audit_reasons": [entry.reason for entry in entries],
    }
    return Change("audited", _APPEND, len(entries), values)


async def view(
    tx: Transaction, actor: Actor, noun: Noun, target_id: str, customer_id: str | None
) -> None:
    """Somebody has looked at a thing: noted once in ten minutes."""
    await once(tx, Entry(actor, Action.DATA_VIEWED, noun, target_id, customer_id))


async def once(tx: Transaction, entry: Entry) -> None:
    """Note what an actor may do to a thing again and again: once in ten minutes, whatever it is."""
    source = asdict(entry.actor.source)
    who = {"actor_type": entry.actor.type, "actor_id": entry.actor.id, **source}
    what = {
        "action": entry.action,
        "target_type": entry.noun,
        "target_id": entry.target_id,
        "customer_id": entry.customer_id,
    }
    await tx.execute(_NOTED, {**who, **what})


async def after(tx: Transaction, wanted: Wanted, last_id: int, limit: int) -> list[AuditEntry]:
    """Oldest first, above entry id `last_id`."""
    query = _ENTRIES.where(*_filters(wanted), audit_entries.c.id > last_id)
    rows = await tx.execute(query.order_by(audit_entries.c.id).limit(limit))
    return [_entry(row) for row in rows]


async def listed(
    tx: Transaction, wanted: Wanted, place: Place | None, limit: int
) -> Page[AuditEntry]:
    """The newest first, below a place."""
    return await page(tx, _ENTRIES.where(*_filters(wanted)), _LISTED, place, limit, _entry)


async def lock_chain(tx: Transaction) -> bool:
    """To the commit; False while somebody else seals."""
    name = func.hashtextextended("audit-seals", 0)
    return bool(await tx.scalar(select(func.pg_try_advisory_xact_lock(name))))


async def last_seal(tx: Transaction) -> Seal | None:
    return next(iter(await _seals(tx, _SEALS.order_by(audit_seals.c.n.desc()).limit(1))), None)


async def seal(tx: Transaction, n: int) -> Seal | None:
    return next(iter(await _seals(tx, _SEALS.where(audit_seals.c.n == n))), None)


async def first_seal(tx: Transaction) -> Seal | None:
    return next(iter(await _seals(tx, _SEALS.order_by(audit_seals.c.n).limit(1))), None)


async def last_sealed_before(tx: Transaction, moment: datetime) -> Seal | None:
    """The last seal of which, and of all before it, that is true."""
    younger = select(func.min(audit_seals.c.n)).where(audit_seals.c.sealed_at >= moment)
    older = _SEALS.where(audit_seals.c.n < func.coalesce(younger.scalar_subquery(), LAST))
    return next(iter(await _seals(tx, older.order_by(audit_seals.c.n.desc()).limit(1))), None)


async def last_cut(tx: Transaction) -> AuditEntry | None:
    cuts = _ENTRIES.where(audit_entries.c.action == Action.TRAIL_CUT)
    row = (await tx.execute(cuts.order_by(audit_entries.c.id.desc()).limit(1))).first()
    return None if row is None else _entry(row)


async def count_until(tx: Transaction, seal: Seal) -> int:
    """Entries that this seal, or one before it, has."""
    counted = select(func.count()).select_from(audit_entries).where(await _until(tx, seal))
    return (await tx.execute(counted)).scalar_one()


async def drop_until(tx: Transaction, seal: Seal) -> int:
    """All those entries, and the seals before it. Refused without the entry that says so."""
    dropped = await tx.execute(delete(audit_entries).where(await _until(tx, seal)))
    await tx.execute(delete(audit_seals).where(audit_seals.c.n < seal.n))
    return dropped.rowcount


async def _until(tx: Transaction, seal: Seal) -> ColumnElement[bool]:
    """In its segment by place, before it everything; in a later one the places begin anew."""
    of_it = tuple_(seal.last_xid, seal.last_id) >= _PLACE
    later = await next_segment(tx, seal)
    if later is not None:
        of_it &= audit_entries.c.id < later
    return or_(audit_entries.c.id < seal.from_id, of_it)


async def seals_after(tx: Transaction, n: int, limit: int) -> list[Seal]:
    """In their order."""
    later = _SEALS.where(audit_seals.c.n > n).order_by(audit_seals.c.n)
    return await _seals(tx, later.limit(limit))


async def add_seal(tx: Transaction, seal: Seal) -> None:
    values = {name: value for name, value in asdict(seal).items() if name != "sealed_at"}
    await tx.execute(insert(audit_seals).values(**values))


async def was_restored(tx: Transaction, seal: Seal) -> bool:
    """Whether its transactions were those of another cluster: here none had such a number yet."""
    return seal.last_xid >= (await tx.execute(select(_number(func.pg_snapshot_xmax)))).scalar_one()


async def unsealed(tx: Transaction, previous: Seal, limit: int, *, all_: bool) -> list[AuditEntry]:
    """What follows a seal, in order, as far as nothing can still commit before it; `all_`: what is
    there was committed long ago, in another cluster."""
    query = _after(previous)
    if not all_:
        query = query.where(audit_entries.c.created_xid < _number(func.pg_snapshot_xmin))
    return [_entry(row) for row in await tx.execute(query.limit(limit))]


async def between(
    tx: Transaction, previous: Seal, last: Seal, from_id: int | None
) -> list[AuditEntry]:
    """What follows a seal up to the place of another; where another segment begins at `from_id`,
    everything that is below it."""
    query = _after(previous)
    if from_id is None:
        query = query.where(tuple_(last.last_xid, last.last_id) >= _PLACE)
    else:
        query = query.where(audit_entries.c.id < from_id)
    return [_entry(row) for row in await tx.execute(query)]


async def next_segment(tx: Transaction, seal: Seal) -> int | None:
    """The first id of the segment after that of this seal."""
    later = select(func.min(audit_seals.c.from_id)).where(audit_seals.c.from_id > seal.from_id)
    first: int | None = (await tx.execute(later)).scalar_one()
    return first


def _after(previous: Seal) -> Select[Any]:
    return _ENTRIES.where(
        audit_entries.c.id >= previous.from_id,
        tuple_(previous.last_xid, previous.last_id) < _PLACE,
    ).order_by(audit_entries.c.created_xid, audit_entries.c.id)


def _number(of_snapshot: Callable[[Any], ColumnElement[Any]]) -> ColumnElement[int]:
    """Of a transaction, as the statement sees it that asks."""
    return cast(cast(of_snapshot(func.pg_current_snapshot()), Text), BigInteger)


async def _seals(tx: Transaction, query: Select[Any]) -> list[Seal]:
    return [Seal(**row) for row in (await tx.execute(query)).mappings()]


def _filters(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    columns = audit_entries.c
    yield from matching(
        {
            columns.action: wanted.action,
            columns.actor_id: wanted.actor_id,
            columns.target_type: wanted.noun,
            columns.target_id: wanted.target_id,
            columns.customer_id: wanted.customer_id,
            columns.trace_id: wanted.trace_id,
        }
    )
    yield from within(columns.at, wanted.since, wanted.until)


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        xid=row.created_xid,
        at=row.at,
        actor_type=row.actor_type,
        actor_id=row.actor_id,
        ip=row.ip,
        user_agent=row.user_agent,
        trace_id=row.trace_id,
        request_id=row.request_id,
        action=row.action,
        noun=row.target_type,
        target_id=row.target_id,
        customer_id=row.customer_id,
        before=row.before,
        after=row.after,
        reason=row.reason,
        viewed_from=row.viewed_from,
    )


def _json(fields: Mapping[str, Any] | None) -> str | None:
    return None if fields is None else orjson.dumps(fields).decode()
