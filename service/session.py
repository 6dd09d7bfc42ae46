"""Sessions at our own issuer: begun with a password, kept alive by refresh tokens, ended."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.access import SYSTEM, Source
from domain.audit import Action, Actor, ActorType, Entry, Noun, actor
from domain.errors import LoginFailed
from domain.event import JSON
from domain.session import Shown, digest, shown, successor
from domain.user import User
from service.realm import OURSELVES, Realm
from service.user import access_of
from store import audit, clock, session, user
from store.database import Transaction
from store.identifier import new_id

TOKEN_BYTES = 32
KEPT = timedelta(days=30)
"""How long a session is kept after its end: a token of it that comes late is told from a foreign
one."""
UNKNOWN = "unknown"
"""As whom the trail knows names that are nobody's: as many as anybody likes to send."""
SOMEBODY = "somebody"


@dataclass(frozen=True)
class Grant:
    """What a log-in, or a refresh, has come to."""

    user: User
    session_id: str
    client_id: str
    refresh_token: str
    ends_at: datetime


@dataclass(frozen=True)
class Over:
    """It cannot be refreshed any more; None where the token was never one of ours."""

    session_id: str | None


async def start(realm: Realm, known: User, client_id: str, source: Source) -> Grant:
    """Of somebody whose password was right; raises `LoginFailed` where that is not so any more."""
    session_id, token = new_id(), secrets.token_urlsafe(TOKEN_BYTES)
    seed = secrets.token_urlsafe(TOKEN_BYTES)
    async with realm.database.begin(SYSTEM) as tx:
        now_known = await user.lock(tx, known.id)
        if now_known is None or not _is_same(known, now_known):
            raise LoginFailed("The name or the password is wrong, or nobody is let in with it now.")
        ends_at = await session.add(
            tx, session_id, known.id, client_id, seed, realm.session_length, realm.keys
        )
        await session.add_token(tx, digest(token), session_id, 0)
        await audit.append(
            tx,
            _entry(
                realm, now_known, source, Action.LOGGED_IN, session_id, after={"client": client_id}
            ),
        )
    return Grant(now_known, session_id, client_id, token, ends_at)


def _is_same(known: User, now_known: User) -> bool:
    return now_known.is_active and now_known.password_hash == known.password_hash


async def refresh(realm: Realm, token: str, client_id: str, source: Source) -> Grant | Over:
    """The same session with the next token. What a token that comes twice ends stays ended, so
    nothing is raised within the transaction."""
    async with realm.database.begin(SYSTEM) as tx:
        return await _refreshed(tx, realm, token, client_id, source)


async def _refreshed(
    tx: Transaction, realm: Realm, token: str, client_id: str, source: Source
) -> Grant | Over:
    kept = await session.lock_token(tx, digest(token))
    if kept is None:
        return Over(None)
    alive = await session.lock(tx, kept.session_id, realm.keys)
    whose = await user.find(tx, alive.user_id)
    assert whose is not None, "nobody is deleted"
    following = successor(token, alive.seed)
    match shown(alive, kept, client_id, await clock.now(tx)):
        case Shown.FIRST:
            assert await session.use(tx, digest(token)), "its row is locked"
            await session.add_token(tx, digest(following), alive.id, kept.generation + 1)
        case Shown.STOLEN:
            await session.revoke(tx, alive.id)
            why = "a refresh token came twice, or from another client"
            entry = _entry(realm, whose, source, Action.SESSION_REVOKED, alive.id, reason=why)
            await audit.append(tx, entry)
            return Over(alive.id)
        case Shown.OVER:
            return Over(alive.id)
    return Grant(whose, alive.id, client_id, following, alive.expires_at)


async def end(realm: Realm, token: str, source: Source) -> str | None:
    """Log out: the session of this refresh token, whichever of its tokens it is; None where there
    is none."""
    async with realm.database.begin(SYSTEM) as tx:
        kept = await session.lock_token(tx, digest(token))
        if kept is None:
            return None
        alive = await session.lock(tx, kept.session_id, realm.keys)
        if alive.revoked_at is None:
            whose = await user.find(tx, alive.user_id)
            assert whose is not None, "nobody is deleted"
            await session.revoke(tx, alive.id)
            await audit.append(
                tx,
                _entry(realm, whose, source, Action.SESSION_REVOKED, alive.id, reason="logged out"),
            )
        return alive.id


async def failed(realm: Realm, known: User | None, source: Source, is_locked: bool) -> None:
    """Note that somebody was not let in, and that nobody is for a while. Each is noted once in ten
    minutes for each user, and once for all names that are nobody's, so that nobody fills the disk;
    and with as many statements for nobody as for somebody."""
    about = UNKNOWN if known is None else known.id
    customer_id = None if known is None else known.customer_id
    stranger = Actor(ActorType.EXTERNAL, SOMEBODY, source)
    async with realm.database.begin(SYSTEM) as tx:
        wrong = Entry(stranger, Action.LOGIN_FAILED, Noun.USER, about, customer_id)
        await audit.once(tx, wrong)
        if is_locked:
            locked = Entry(OURSELVES, Action.ACCOUNT_LOCKED, Noun.USER, about, customer_id)
            await audit.once(tx, locked)


async def forget(realm: Realm) -> int:
    """Drop what ended long ago; returns how many sessions."""
    async with realm.database.begin(SYSTEM) as tx:
        return await session.forget(tx, KEPT)


def _entry(
    realm: Realm,
    whose: User,
    source: Source,
    action: Action,
    session_id: str,
    reason: str | None = None,
    after: Mapping[str, JSON] | None = None,
) -> Entry:
    who = actor(access_of(whose, realm.alias, source))
    customer_id = whose.customer_id
    return Entry(who, action, Noun.SESSION, session_id, customer_id, reason=reason, after=after)
