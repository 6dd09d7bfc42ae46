"""The audit trail: entries are added in the transaction of what they tell of, and stay."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Row, select

from domain.audit import AuditEntry, Entry, Wanted
from store import change
from store.change import Change
from store.database import Transaction
from store.seen import Seen, unseen
from store.tables import audit_entries

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


_ENTRIES = select(audit_entries)


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


async def listed(
    tx: Transaction, wanted: Wanted, before: int | None, limit: int
) -> list[AuditEntry]:
    """Newest first, below entry id `before`."""
    query = _ENTRIES.where(*_filters(wanted)).order_by(audit_entries.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_entries.c.id < before)
    return [_entry(row) for row in await tx.execute(query)]


async def came_late(
    tx: Transaction, wanted: Wanted, newest: int, before: int, seen: Seen
) -> list[AuditEntry]:
    """Those between the newest and `before` that could not be seen when that was reached."""
    passed = audit_entries.c.id.between(before, newest)
    late = unseen(audit_entries.c.created_xid)
    query = _ENTRIES.where(*_filters(wanted), passed, late).order_by(audit_entries.c.id.desc())
    return [_entry(row) for row in await tx.execute(query, seen._asdict())]


def _filters(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    columns = audit_entries.c
    named = {
        columns.action: wanted.action,
        columns.actor_id: wanted.actor_id,
        columns.target_type: wanted.noun,
        columns.target_id: wanted.target_id,
        columns.customer_id: wanted.customer_id,
        columns.trace_id: wanted.trace_id,
    }
    yield from (column == value for column, value in named.items() if value is not None)
    if wanted.since is not None:
        yield columns.at >= wanted.since
    if wanted.until is not None:
        yield columns.at < wanted.until


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
    )


def _json(fields: Mapping[str, Any] | None) -> str | None:
    return None if fields is None else orjson.dumps(fields).decode()
