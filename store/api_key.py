"""API keys."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, insert, or_, select, update

from domain.api_key import ApiKey, Digest
from domain.roles import Role, TokenScope
from store.clock import NOW
from store.database import Transaction
from store.tables import api_keys


async def add(tx: Transaction, key: ApiKey, digest: Digest) -> None:
    """A new key."""
    row = insert(api_keys).values(
        id=key.id,
        family=key.family,
        name=key.name,
        role=key.role,
        customer_id=key.customer_id or None,
        scopes=None if key.scopes is None else sorted(key.scopes),
        networks=list(key.networks),
        digest=digest.value,
        digest_secret=digest.secret,
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
    )
    await tx.execute(row)


async def find(tx: Transaction, id_: str) -> tuple[ApiKey, Digest] | None:
    """A key by its id, and what is kept of it."""
    row = (await tx.execute(select(api_keys).where(api_keys.c.id == id_))).first()
    return None if row is None else (_of_row(row), Digest(row.digest_secret, bytes(row.digest)))


async def lock(tx: Transaction, id_: str) -> ApiKey | None:
    """To the commit: what is done to a key is done one after the other."""
    query = select(api_keys).where(api_keys.c.id == id_).with_for_update()
    row = (await tx.execute(query)).first()
    return None if row is None else _of_row(row)


async def newest(tx: Transaction, family: str) -> ApiKey:
    """The last of those that took each other's place, also if it was revoked."""
    query = select(api_keys).where(api_keys.c.family == family)
    row = (await tx.execute(query.order_by(api_keys.c.created_at.desc()).limit(1))).one()
    return _of_row(row)


async def page(
    tx: Transaction, customer_id: str | None, after: str | None, limit: int
) -> list[ApiKey]:
    """In the order of their ids; those of one customer if it is named."""
    query = select(api_keys).order_by(api_keys.c.id).limit(limit)
    if customer_id is not None:
        query = query.where(api_keys.c.customer_id == customer_id)
    if after is not None:
        query = query.where(api_keys.c.id > after)
    return [_of_row(row) for row in await tx.execute(query)]


async def expire(tx: Transaction, id_: str, at: datetime) -> None:
    """From then on the key is not believed."""
    await tx.execute(update(api_keys).where(api_keys.c.id == id_).values(expires_at=at))


async def revoke(tx: Transaction, id_: str, at: datetime) -> None:
    """Never again; the first time stays."""
    first = func.coalesce(api_keys.c.revoked_at, at)
    await tx.execute(update(api_keys).where(api_keys.c.id == id_).values(revoked_at=first))


async def note_use(tx: Transaction, id_: str, digest: Digest, at_most_every: timedelta) -> None:
    """That the key was used, unless that was noted a moment ago; kept under this secret from now
    on, if it was kept under another."""
    key = api_keys.c
    due = or_(
        key.last_used_at.is_(None),
        key.last_used_at < NOW - at_most_every,
        key.digest_secret != digest.secret,
    )
    values = {"last_used_at": NOW, "digest": digest.value, "digest_secret": digest.secret}
    await tx.execute(update(api_keys).where(key.id == id_, due).values(**values))


def _of_row(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        family=row.family,
        name=row.name,
        role=Role(row.role),
        customer_id=row.customer_id or "",
        scopes=None if row.scopes is None else frozenset(map(TokenScope, row.scopes)),
        networks=tuple(row.networks),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
