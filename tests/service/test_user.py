"""Who logs in at our own issuer: who may be made what, and that somebody stays who may."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from domain.access import SYSTEM, at_the_machine
from domain.errors import InvalidRequest, LastAdmin, NameTaken, NotFound
from domain.roles import Role
from runtime.settings import Settings
from service import user
from service.password import Passwords
from service.realm import Realm
from store import customer
from store.database import Database
from store.key_ring import NO_KEYS
from tests.support.audit import trail
from tests.support.databases import connected, crowd

ME = at_the_machine("me")

PASSWORD = "correct horse battery staple"


@pytest.fixture
async def realm(own: Settings) -> AsyncIterator[Realm]:
    """With nobody in it."""
    async with connected(own.auth_database_url, pool_size=5) as database:
        yield Realm(database, NO_KEYS)


async def make(realm: Realm, *roles: Role, name: str = "", customer_id: str | None = None) -> str:
    name = name or f"u-{uuid4().hex}"
    await user.create(realm, ME, Passwords(), name, PASSWORD, set(roles), customer_id)
    return name


async def admins(realm: Realm) -> set[str]:
    return {each.name for each in await user.everybody(realm) if each.is_admin}


async def test_the_last_admin_can_be_taken_away_in_no_way(realm: Realm) -> None:
    admin = await make(realm, Role.ADMIN)
    await make(realm, Role.OPERATOR)
    gone = await make(realm, Role.ADMIN)
    await user.disable(realm, ME, gone)

    with pytest.raises(LastAdmin):
        await user.disable(realm, ME, admin)
    with pytest.raises(LastAdmin):
        await user.set_roles(realm, ME, admin, {Role.OPERATOR}, None)

    assert await admins(realm) == {admin}
    await user.set_roles(realm, ME, admin, {Role.ADMIN, Role.FINANCE}, None)
    await make(realm, Role.ADMIN, name="another")
    await user.disable(realm, ME, admin)
    assert await admins(realm) == {"another"}


async def test_admins_who_take_each_other_away_leave_one(realm: Realm) -> None:
    everybody = [await make(realm, Role.ADMIN) for _ in range(4)]

    async def away(name: str) -> bool:
        try:
            await user.disable(realm, ME, name)
        except LastAdmin:
            return False
        return True

    assert sum(await crowd(away(name) for name in everybody)) == 3
    assert len(await admins(realm)) == 1


async def test_who_is_disabled_or_gets_another_password_is_noted_without_it(
    realm: Realm, mine: Database
) -> None:
    name = await make(realm, Role.OPERATOR)
    await user.set_password(realm, ME, Passwords(), name, "another horse, another staple")
    await user.set_roles(realm, ME, name, {Role.FINANCE}, None)
    await user.disable(realm, ME, name)
    await user.disable(realm, ME, name)

    noted = await trail(mine)

    did = ["USER_CREATED", "USER_PASSWORD_SET", "USER_ROLES_SET", "USER_DISABLED"]
    assert [each.action for each in noted] == did
    assert (noted[2].before, noted[2].after) == ({"roles": ["operator"]}, {"roles": ["finance"]})
    assert (noted[3].before, noted[3].after) == ({"active": True}, {"active": False})
    assert "horse" not in repr(noted)


async def test_a_name_is_somebodys_once(realm: Realm) -> None:
    name = await make(realm, Role.OPERATOR)
    with pytest.raises(NameTaken):
        await make(realm, Role.ADMIN, name=name)
    assert await admins(realm) == set()


async def test_a_customer_is_one_of_ours_and_nobody_else_has_one(
    realm: Realm, mine: Database
) -> None:
    async with mine.begin(SYSTEM) as tx:
        await customer.put(tx, "acme")
    name = await make(realm, Role.CUSTOMER, customer_id="acme")
    for roles, customer_id in (
        ({Role.CUSTOMER}, None),
        ({Role.OPERATOR}, "acme"),
        (set(), None),
    ):
        with pytest.raises(InvalidRequest):
            await make(realm, *roles, customer_id=customer_id)
        with pytest.raises(InvalidRequest):
            await user.set_roles(realm, ME, name, roles, customer_id)
    with pytest.raises(NotFound, match="no customer nobody"):
        await make(realm, Role.CUSTOMER, customer_id="nobody")
    with pytest.raises(NotFound, match="no user"):
        await user.disable(realm, ME, "who")


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a" * 65, "a\n", "ä"])
async def test_a_name_has_a_form(database: Database, name: str) -> None:
    realm = Realm(database, NO_KEYS)
    with pytest.raises(InvalidRequest, match="name"):
        await user.create(realm, ME, Passwords(), name, PASSWORD, {Role.ADMIN}, None)


@pytest.mark.parametrize("password", ["", "short", "x" * 257])
async def test_a_password_has_a_length_and_is_not_quoted(database: Database, password: str) -> None:
    realm = Realm(database, NO_KEYS)
    with pytest.raises(InvalidRequest, match="12 to 256") as refusal:
        await user.create(realm, ME, Passwords(), "somebody", password, {Role.ADMIN}, None)
    assert not password or password not in str(refusal.value)
