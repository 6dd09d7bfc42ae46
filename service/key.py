"""API keys: given out, replaced, revoked, and who it is that sends one."""

import asyncio
import secrets as chance
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import structlog

from domain import api_key as rules
from domain.access import SYSTEM, Access
from domain.api_key import ApiKey, Digest, Mode, Presented
from domain.audit import Action, Entry, Noun, actor
from domain.errors import InvalidRequest, NotFound, Unauthenticated
from domain.event import JSON
from domain.roles import Role, TokenScope
from service.desk import Desk
from store import api_key, audit, clock, customer
from store.database import ERRORS, Database, Transaction

BELIEVED_SECONDS = 30.0
"""For so long a key is believed without asking again: a revocation may take effect so late."""
NOTED_EVERY = timedelta(minutes=1)
MOST_REMEMBERED = 10_000

log = structlog.get_logger()


class KeysUnreachable(Exception):
    """Whose key it is cannot be known at the moment; nothing is wrong with it."""


@dataclass(frozen=True)
class KeyRing:
    """With which secrets keys are kept, the first one for new ones; and of which kind they are."""

    secrets: Mapping[str, str]
    mode: Mode


@dataclass(frozen=True)
class NewKey:
    """What is wished for. `scopes`: for what it may be used, None for everything that its role may
    do. `networks`: from where; none means from everywhere."""

    name: str
    role: Role
    customer_id: str = ""
    scopes: frozenset[TokenScope] | None = None
    networks: tuple[str, ...] = ()
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Issued:
    """A key and its text, which is shown once and kept nowhere."""

    key: ApiKey
    text: str


async def create(desk: Desk, ring: KeyRing, access: Access, wish: NewKey) -> Issued:
    """A new key; raises `InvalidRequest` or `NotFound`."""
    rules.check_holder(wish.role, wish.customer_id)
    networks = tuple(_network(each) for each in wish.networks)
    async with desk.database.begin(access.scope) as tx:
        now = await clock.now(tx)
        if wish.expires_at is not None and wish.expires_at <= now:
            raise InvalidRequest("expiresAt: lies in the past.")
        if wish.customer_id and await customer.find(tx, wish.customer_id) is None:
            raise NotFound(f"There is no customer {wish.customer_id}.")
        id_ = _drawn(rules.ID_LENGTH)
        key = ApiKey(
            id=id_,
            family=id_,
            name=wish.name,
            role=wish.role,
            customer_id=wish.customer_id,
            scopes=wish.scopes,
            networks=networks,
            created_by=access.caller,
            created_at=now,
            expires_at=wish.expires_at,
            revoked_at=None,
            last_used_at=None,
        )
        return await _added(tx, ring, access, key)


async def page(desk: Desk, customer_id: str | None, after: str | None, limit: int) -> list[ApiKey]:
    """Keys in the order of their ids; those of one customer if it is named."""
    async with desk.database.read(SYSTEM) as tx:
        return await api_key.page(tx, customer_id, after, limit)


async def rotate(desk: Desk, ring: KeyRing, access: Access, id_: str, overlap: timedelta) -> Issued:
    """A key for the same holder in place of this one, which is believed for a while yet. The new
    one is believed for as long as the newest before it was to be: this one may have been replaced
    before. Raises `NotFound`, or `InvalidRequest` for one that is not believed any more."""
    async with desk.database.begin(access.scope) as tx:
        now = await clock.now(tx)
        old = await _locked(tx, id_)
        if not old.is_live(now):
            raise InvalidRequest(f"The key {id_} has expired or was revoked: create a new one.")
        end = rules.overlap_end(old, now, overlap)
        new = replace(
            old,
            id=_drawn(rules.ID_LENGTH),
            created_by=access.caller,
            created_at=now,
            expires_at=(await api_key.newest(tx, old.family)).expires_at,
            last_used_at=None,
        )
        await api_key.expire(tx, id_, end)
        before: dict[str, JSON] = {"expiresAt": _iso(old.expires_at)}
        after: dict[str, JSON] = {"expiresAt": _iso(end), "replacedBy": new.id}
        await _note(tx, access, Action.API_KEY_ROTATED, old, before, after)
        return await _added(tx, ring, access, new)


async def revoke(desk: Desk, access: Access, id_: str) -> ApiKey:
    """It is not believed any more, everywhere within `BELIEVED_SECONDS`. Harmless twice; raises
    `NotFound`."""
    async with desk.database.begin(access.scope) as tx:
        key = await _locked(tx, id_)
        if key.revoked_at is not None:
            return key
        now = await clock.now(tx)
        await api_key.revoke(tx, id_, now)
        before: dict[str, JSON] = {"revokedAt": None}
        await _note(tx, access, Action.API_KEY_REVOKED, key, before, {"revokedAt": _iso(now)})
        return replace(key, revoked_at=now)


@dataclass
class _Remembered:
    key: ApiKey
    digest: Digest
    read_at: datetime
    """By the database's clock, as everything about time here."""
    since: float
    noted_at: float

    def now(self) -> datetime:
        return self.read_at + timedelta(seconds=time.monotonic() - self.since)


class Keys:
    """Who sends a key. Whoever was believed is believed for `BELIEVED_SECONDS` without asking."""

    def __init__(
        self, database: Database, ring: KeyRing, believed_seconds: float = BELIEVED_SECONDS
    ) -> None:
        self._database = database
        self._ring = ring
        self._believed_seconds = believed_seconds
        self._remembered: dict[str, _Remembered] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def access_of(self, text: str, address: str) -> Access:
        """Whoever holds this key and calls from there; raises `Unauthenticated`, or
        `KeysUnreachable`."""
        presented = rules.read(text)
        if presented is None:
            raise _refused("This is no API key: look for a mistake in copying it.")
        if presented.mode is Mode.TEST and self._ring.mode is Mode.LIVE:
            raise _refused("A key of a test is none here.")
        remembered = await self._remember(presented)
        if remembered is None or not presented.is_of(remembered.digest, self._ring.secrets):
            raise _refused("This API key is not known.")
        if not remembered.key.is_live(remembered.now()):
            raise _refused("This API key has expired or was revoked.")
        if not _may_come_from(remembered.key.networks, address):
            raise _refused("This API key may not be used from this address.")
        self._note(presented, remembered)
        return remembered.key.access

    async def close(self) -> None:
        """Ends when what is to be noted is noted."""
        await asyncio.gather(*self._notes)

    async def _remember(self, presented: Presented) -> _Remembered | None:
        found = self._remembered.get(presented.id)
        if found is not None and time.monotonic() < found.since + self._believed_seconds:
            return found
        try:
            async with self._database.read(SYSTEM) as tx:
                row = await api_key.find(tx, presented.id)
                now = await clock.now(tx)
        except (*ERRORS, OSError) as error:
            raise KeysUnreachable from error
        if row is None or not presented.is_of(row[1], self._ring.secrets):
            return None
        if len(self._remembered) >= MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        noted_at = float("-inf") if found is None else found.noted_at
        fresh = _Remembered(*row, now, time.monotonic(), noted_at)
        self._remembered[presented.id] = fresh
        return fresh

    def _note(self, presented: Presented, remembered: _Remembered) -> None:
        """Outside of what the key is used for: nobody waits for it, and it may fail."""
        if time.monotonic() < remembered.noted_at + NOTED_EVERY.total_seconds():
            return
        remembered.noted_at = time.monotonic()
        task = asyncio.create_task(self._noted(presented))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _noted(self, presented: Presented) -> None:
        digest = rules.digest(presented.text, self._ring.secrets)
        try:
            async with self._database.begin(SYSTEM) as tx:
                await api_key.note_use(tx, presented.id, digest, NOTED_EVERY)
        except (*ERRORS, OSError) as error:
            log.warning("the use of an API key was not noted", id=presented.id, error=error)


def _refused(words: str) -> Unauthenticated:
    return Unauthenticated(words, presented=True)


def _may_come_from(networks: tuple[str, ...], address: str) -> bool:
    if not networks:
        return True
    try:
        here = ip_address(address)
    except ValueError:
        return False
    return any(here in each for each in _parsed(networks))


@lru_cache(1_024)
def _parsed(networks: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, networks))


def _network(text: str) -> str:
    """In its one form; raises `InvalidRequest`."""
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise InvalidRequest(f"allowedNetworks: {text[:50]!r} is no network: {error}.") from error


async def _locked(tx: Transaction, id_: str) -> ApiKey:
    found = await api_key.lock(tx, id_)
    if found is None:
        raise NotFound(f"There is no API key {id_}.")
    return found


async def _added(tx: Transaction, ring: KeyRing, access: Access, key: ApiKey) -> Issued:
    text = rules.text_of(ring.mode, key.id, _drawn(rules.CHANCE_LENGTH))
    await api_key.add(tx, key, rules.digest(text, ring.secrets))
    await _note(tx, access, Action.API_KEY_CREATED, key, None, _terms(key))
    return Issued(key, text)


async def _note(
    tx: Transaction,
    access: Access,
    action: Action,
    key: ApiKey,
    before: dict[str, JSON] | None,
    after: dict[str, JSON],
) -> None:
    owner = key.customer_id or None
    who = actor(access)
    await audit.append(tx, Entry(who, action, Noun.API_KEY, key.id, owner, before, after))


def _terms(key: ApiKey) -> dict[str, JSON]:
    return {
        "name": key.name,
        "role": key.role,
        "scopes": None if key.scopes is None else list[JSON](sorted(key.scopes)),
        "networks": list(key.networks),
        "expiresAt": _iso(key.expires_at),
        "caller": key.access.caller,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _drawn(length: int) -> str:
    return "".join(chance.choice(rules.ALPHABET) for _ in range(length))
