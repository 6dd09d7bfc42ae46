"""Idempotency keys: the claim of a key and the resource it made commit together.

The row is kept for ever, its stored answer at least 24 h: *the body may expire, the obligation may
not*. Semantics: IETF draft-ietf-httpapi-idempotency-key-header.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.errors import KeyReused
from store.change import Change
from store.database import Transaction
from store.tables import idempotency_keys

_CLAIM = """
claimed AS (
    INSERT INTO idempotency_keys (caller, route, key, request_hash, resource_id)
    VALUES (:caller, :route, :key, :request_hash, CAST(:resource_id AS uuid))
    ON CONFLICT DO NOTHING
    RETURNING key
)"""


_answer = (idempotency_keys.c.response_status, idempotency_keys.c.response_body)
_KEEP = (
    update(idempotency_keys)
    .where(
        idempotency_keys.c.caller == bindparam("of_caller"),
        idempotency_keys.c.route == bindparam("of_route"),
        idempotency_keys.c.key == bindparam("of_key"),
    )
    .values(
        response_status=func.coalesce(_answer[0], bindparam("status")),
        response_body=func.coalesce(_answer[1], bindparam("body")),
    )
    .returning(*_answer)
)
"""Put together once: that costs more than the statement."""


@dataclass(frozen=True)
class Claim:
    """What makes two requests the same request."""

    caller: str
    route: str
    key: str
    request_hash: bytes


@dataclass(frozen=True)
class StoredAnswer:
    """The status and body that every repeat gets, byte for byte."""

    status: int
    body: str


@dataclass(frozen=True)
class Claimed:
    """The resource behind a key. `answer` is None while there is no outcome, or after a purge."""

    resource_id: str
    repeated: bool
    answer: StoredAnswer | None


async def claim(tx: Transaction, claim: Claim, resource_id: str) -> Claimed:
    """Take the key for this resource, or learn whose it is; raises `KeyReused`, also where the
    caller took it while it acted for somebody else.

    A concurrent claim of the same key waits here until the other transaction ends.
    """
    row = insert(idempotency_keys).values(
        caller=claim.caller,
        route=claim.route,
        key=claim.key,
        request_hash=claim.request_hash,
        resource_id=resource_id,
    )
    taken = await tx.execute(row.on_conflict_do_nothing().returning(idempotency_keys.c.key))
    if taken.first() is not None:
        return Claimed(resource_id, repeated=False, answer=None)
    found = await find(tx, claim)
    if found is None:  # It is there, but not for the customer for whom the caller acts now.
        raise KeyReused("Use a new Idempotency-Key for a new request.")
    return found


def claiming(claim: Claim, resource_id: str) -> Change:
    """The same as a part of a statement, for a key that nobody has taken."""
    values = {
        "caller": claim.caller,
        "route": claim.route,
        "key": claim.key,
        "request_hash": claim.request_hash,
        "resource_id": resource_id,
    }
    return Change("claimed", _CLAIM, 1, values)


async def find(tx: Transaction, claim: Claim) -> Claimed | None:
    """The earlier claim of this key, if any; raises `KeyReused` when its request was another."""
    row = (await tx.execute(select(idempotency_keys).where(_is(claim)))).first()
    if row is None:
        return None
    if row.request_hash != claim.request_hash:
        raise KeyReused("Use a new Idempotency-Key for a new request.")
    stored = None if row.response_body is None else row.response_status
    answer = None if stored is None else StoredAnswer(stored, row.response_body)
    return Claimed(row.resource_id, repeated=True, answer=answer)


async def store_answer(tx: Transaction, claim: Claim, answer: StoredAnswer) -> StoredAnswer:
    """Keep the answer unless there is one; returns the one that is kept (first writer wins)."""
    values = {
        "of_caller": claim.caller,
        "of_route": claim.route,
        "of_key": claim.key,
        "status": answer.status,
        "body": answer.body,
    }
    status, body = (await tx.execute(_KEEP, values)).one()
    return StoredAnswer(status, body)


async def purge_bodies(tx: Transaction, older_than: datetime) -> int:
    """Drop stored answers (never rows) that are older; returns how many."""
    purged = await tx.execute(
        update(idempotency_keys)
        .where(
            idempotency_keys.c.response_body.is_not(None),
            idempotency_keys.c.created_at < older_than,
        )
        .values(response_body=None, response_status=None)
    )
    return purged.rowcount


def _is(claim: Claim) -> ColumnElement[bool]:
    return and_(
        idempotency_keys.c.caller == claim.caller,
        idempotency_keys.c.route == claim.route,
        idempotency_keys.c.key == claim.key,
    )
