"""Sessions at our own issuer, and the refresh tokens that keep them alive."""

from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update

from domain.session import RefreshToken, Session
from store.clock import NOW
from store.database import Transaction
from store.key_ring import KeyRing
from store.tables import auth_refresh_tokens, auth_sessions


async def add(
    tx: Transaction,
    session_id: str,
    user_id: str,
    client_id: str,
    seed: str,
    length: timedelta,
    keys: KeyRing,
) -> datetime:
    """Returns when it ends."""
    row = insert(auth_sessions).values(
        id=session_id,
        user_id=user_id,
        client_id=client_id,
        seed=keys.seal_text(seed, _belongs_to(session_id)),
        expires_at=NOW + length,
    )
    ends: datetime = (await tx.execute(row.returning(auth_sessions.c.expires_at))).scalar_one()
    return ends


async def add_token(tx: Transaction, token_hash: bytes, session_id: str, generation: int) -> None:
    """The nth of its session; fails where there is one already."""
    row = {"hash": token_hash, "session_id": session_id, "generation": generation}
    await tx.execute(insert(auth_refresh_tokens).values(**row))


async def lock_token(tx: Transaction, token_hash: bytes) -> RefreshToken | None:
    """To the commit, with whoever else shows it."""
    tokens = auth_refresh_tokens
    query = select(tokens).where(tokens.c.hash == token_hash).with_for_update()
    row = (await tx.execute(query)).first()
    return None if row is None else RefreshToken(row.session_id, row.generation, row.used_at)


async def lock(tx: Transaction, session_id: str, keys: KeyRing) -> Session:
    """To the commit: it does not end meanwhile. Raises `UnknownKey` and `Tampered`."""
    query = select(auth_sessions).where(auth_sessions.c.id == session_id).with_for_update()
    row = (await tx.execute(query)).one()
    seed = keys.open_text(row.seed, _belongs_to(session_id))
    return Session(row.id, row.user_id, row.client_id, seed, row.expires_at, row.revoked_at)


async def use(tx: Transaction, token_hash: bytes) -> bool:
    """For the first time; False if it was used before."""
    tokens = auth_refresh_tokens
    unused = (tokens.c.hash == token_hash) & tokens.c.used_at.is_(None)
    return (await tx.execute(update(tokens).where(unused).values(used_at=NOW))).rowcount == 1


async def revoke(tx: Transaction, session_id: str) -> None:
    ended = update(auth_sessions).where(auth_sessions.c.id == session_id)
    await tx.execute(ended.values(revoked_at=NOW))


async def revoke_all(tx: Transaction, user_id: str) -> list[str]:
    """Of somebody; returns those that had not ended."""
    alive = (auth_sessions.c.user_id == user_id) & auth_sessions.c.revoked_at.is_(None)
    ended = update(auth_sessions).where(alive & (auth_sessions.c.expires_at > NOW))
    rows = await tx.execute(ended.values(revoked_at=NOW).returning(auth_sessions.c.id))
    return list(rows.scalars())


async def forget(tx: Transaction, kept: timedelta) -> int:
    """Sessions that ended longer ago than this, with their tokens; returns how many."""
    old = auth_sessions.c.expires_at < NOW - kept
    return (await tx.execute(delete(auth_sessions).where(old))).rowcount


def _belongs_to(session_id: str) -> str:
    return f"auth_sessions/seed/{session_id}"
