"""Who may log in at our own issuer."""

from collections.abc import Set
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.roles import Role
from domain.user import User
from store.clock import NOW
from store.database import Transaction
from store.tables import auth_users

_USERS = select(auth_users)


async def add(
    tx: Transaction,
    user_id: str,
    name: str,
    password_hash: str,
    roles: Set[Role],
    customer_id: str | None,
) -> User | None:
    """None where somebody has the name already."""
    row = insert(auth_users).values(
        id=user_id,
        name=name,
        password_hash=password_hash,
        roles=_names(roles),
        customer_id=customer_id,
    )
    added = row.on_conflict_do_nothing(index_elements=["name"]).returning(auth_users)
    return _user((await tx.execute(added)).first())


async def find(tx: Transaction, user_id: str) -> User | None:
    return _user((await tx.execute(_USERS.where(auth_users.c.id == user_id))).first())


async def by_name(tx: Transaction, name: str) -> User | None:
    return _user((await tx.execute(_USERS.where(auth_users.c.name == name))).first())


async def lock(tx: Transaction, user_id: str) -> User | None:
    """To the commit: what is decided about somebody stays true so long."""
    query = _USERS.where(auth_users.c.id == user_id).with_for_update()
    return _user((await tx.execute(query)).first())


async def lock_with_admins(tx: Transaction, name: str) -> list[User]:
    """Somebody and everybody who could let in others, to the commit: of two admins who take each
    other away, the second one waits here."""
    is_admin = auth_users.c.roles.any_() == Role.ADMIN
    active: ColumnElement[bool] = auth_users.c.disabled_at.is_(None)
    query = _USERS.where((auth_users.c.name == name) | (is_admin & active))
    # In one order, or two would wait for each other.
    rows = await tx.execute(query.order_by(auth_users.c.id).with_for_update())
    return [_of(row) for row in rows]


async def everybody(tx: Transaction) -> list[User]:
    """By name."""
    return [_of(row) for row in await tx.execute(_USERS.order_by(auth_users.c.name))]


async def set_password(tx: Transaction, user_id: str, password_hash: str) -> None:
    await _change(tx, user_id, password_hash=password_hash)


async def set_roles(
    tx: Transaction, user_id: str, roles: Set[Role], customer_id: str | None
) -> None:
    await _change(tx, user_id, roles=_names(roles), customer_id=customer_id)


async def disable(tx: Transaction, user_id: str) -> None:
    await _change(tx, user_id, disabled_at=NOW)


async def _change(tx: Transaction, user_id: str, **values: Any) -> None:
    await tx.execute(update(auth_users).where(auth_users.c.id == user_id).values(**values))


def _names(roles: Set[Role]) -> list[str]:
    return [str(role) for role in Role if role in roles]


def _user(row: Row[Any] | None) -> User | None:
    return None if row is None else _of(row)


def _of(row: Row[Any]) -> User:
    roles = frozenset(Role(name) for name in row.roles)
    created: datetime = row.created_at
    return User(
        row.id, row.name, row.password_hash, roles, row.customer_id, created, row.disabled_at
    )
