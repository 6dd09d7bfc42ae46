"""The people who log in at our own issuer: made and changed at the command line."""

from collections.abc import Mapping, Set
from dataclasses import replace

from domain.access import SYSTEM, Access, Source
from domain.audit import Action, Entry, Noun, actor, changed
from domain.errors import LastAdmin, NameTaken, NotFound
from domain.event import JSON
from domain.roles import Role
from domain.user import User, check_name, check_password, check_roles, described
from service.password import Passwords
from service.realm import Realm
from store import audit, customer, session, user
from store.database import Transaction
from store.identifier import new_id


async def create(
    realm: Realm,
    access: Access,
    passwords: Passwords,
    name: str,
    password: str,
    roles: Set[Role],
    customer_id: str | None,
) -> User:
    """Raises `InvalidRequest`, `NotFound` for a customer that is none, and `NameTaken`."""
    check_name(name)
    check_password(password)
    check_roles(roles, customer_id)
    password_hash = await passwords.hashed(password)
    async with realm.database.begin(SYSTEM) as tx:
        await _require_customer(tx, customer_id)
        made = await user.add(tx, new_id(), name, password_hash, roles, customer_id)
        if made is None:
            raise NameTaken(f"Somebody logs in as {name} already.")
        await _note(tx, access, Action.USER_CREATED, made, {}, described(made))
    return made


async def everybody(realm: Realm) -> list[User]:
    """By name."""
    async with realm.database.read(SYSTEM) as tx:
        return await user.everybody(tx)


async def named(realm: Realm, name: str) -> User | None:
    async with realm.database.read(SYSTEM) as tx:
        return await user.by_name(tx, name)


async def known(realm: Realm, user_id: str) -> User | None:
    async with realm.database.read(SYSTEM) as tx:
        return await user.find(tx, user_id)


async def rehashed(realm: Realm, known: User, better_hash: str) -> User:
    """With the same password, hashed as it is done now, unless it was changed meanwhile. It is no
    change of anything, so nothing is noted."""
    async with realm.database.begin(SYSTEM) as tx:
        now_known = await user.lock(tx, known.id)
        assert now_known is not None, "nobody is deleted"
        if now_known.password_hash != known.password_hash:
            return known
        await user.set_password(tx, known.id, better_hash)
        return replace(known, password_hash=better_hash)


async def disable(realm: Realm, access: Access, name: str) -> list[str]:
    """Nobody logs in with that name any more; returns the sessions that this has ended. Raises
    `NotFound` and `LastAdmin`."""
    async with realm.database.begin(SYSTEM) as tx:
        before = await _locked(tx, name, takes_admin_away=True)
        if before.is_active:
            await user.disable(tx, before.id)
            await _changed(tx, access, Action.USER_DISABLED, before)
        return await session.revoke_all(tx, before.id)


async def set_password(
    realm: Realm, access: Access, passwords: Passwords, name: str, password: str
) -> list[str]:
    """Raises `NotFound` and `InvalidRequest`; whoever knew the old one is logged out: returns the
    sessions that this has ended."""
    check_password(password)
    password_hash = await passwords.hashed(password)
    async with realm.database.begin(SYSTEM) as tx:
        before = await _locked(tx, name)
        await user.set_password(tx, before.id, password_hash)
        await _note(tx, access, Action.USER_PASSWORD_SET, before)
        return await session.revoke_all(tx, before.id)


async def set_roles(
    realm: Realm, access: Access, name: str, roles: Set[Role], customer_id: str | None
) -> None:
    """From the next refresh on, ten minutes at most. Raises `NotFound`, `InvalidRequest` and
    `LastAdmin`."""
    check_roles(roles, customer_id)
    async with realm.database.begin(SYSTEM) as tx:
        await _require_customer(tx, customer_id)
        before = await _locked(tx, name, takes_admin_away=Role.ADMIN not in roles)
        await user.set_roles(tx, before.id, roles, customer_id)
        await _changed(tx, access, Action.USER_ROLES_SET, before)


async def unlocked(realm: Realm, access: Access, name: str) -> User:
    """Note that somebody may try again at once; raises `NotFound`."""
    async with realm.database.begin(SYSTEM) as tx:
        known = await _locked(tx, name)
        await _note(tx, access, Action.ACCOUNT_UNLOCKED, known)
    return known


def access_of(known: User, alias: str, source: Source) -> Access:
    """Somebody as the API knows them by their tokens."""
    return Access(f"{alias}/{known.id}", known.roles, known.customer_id or "", source=source)


async def _locked(tx: Transaction, name: str, takes_admin_away: bool = False) -> User:
    """Raises `LastAdmin` where somebody else has to be able to let in others, and nobody is."""
    found = await user.lock_with_admins(tx, name)
    wanted = next((each for each in found if each.name == name), None)
    if wanted is None:
        raise NotFound(f"There is no user {name}.")
    others = [each for each in found if each.is_admin and each.id != wanted.id]
    if takes_admin_away and wanted.is_admin and not others:
        raise LastAdmin(f"{name} is the last admin: make another one first.")
    return wanted


async def _require_customer(tx: Transaction, customer_id: str | None) -> None:
    if customer_id is not None and not await customer.is_there(tx, customer_id):
        raise NotFound(f"There is no customer {customer_id}.")


async def _changed(tx: Transaction, access: Access, action: Action, before: User) -> None:
    after = await user.find(tx, before.id)
    assert after is not None, "its row is locked"
    await _note(tx, access, action, after, *changed(described(before), described(after)))


async def _note(
    tx: Transaction,
    access: Access,
    action: Action,
    whom: User,
    before: Mapping[str, JSON] | None = None,
    after: Mapping[str, JSON] | None = None,
) -> None:
    who, customer_id = actor(access), whom.customer_id
    entry = Entry(who, action, Noun.USER, whom.id, customer_id, before=before, after=after)
    await audit.append(tx, entry)
