"""`billing user` and `billing auth`: who logs in at our own issuer, from the command line."""

import sys
from functools import partial
from uuid import uuid4

import orjson
import pytest

from api.app import create_app
from domain.access import SYSTEM
from domain.user import User
from runtime import realm
from runtime.settings import Settings
from service import user as users
from service.password import Passwords
from store import customer
from store.database import Database
from tests.api.documents import refused
from tests.cli.conftest import Command
from tests.conftest import served
from tests.support.databases import connected, settings_of_its_own
from tests.support.own_issuer import bearer, own_issuer
from tests.support.samples import new_id

PASSWORD = "correct horse battery staple"


def a_name() -> str:
    return f"u-{uuid4().hex}"


async def named(settings: Settings, name: str) -> User | None:
    async with connected(settings.auth_database_url) as database:
        return await users.named(realm.of(settings, database), name)


async def matches(settings: Settings, name: str, password: str) -> bool:
    known = await named(settings, name)
    assert known is not None
    good, _ = await Passwords().matches(password, known.password_hash)
    return good


async def test_somebody_is_made_listed_changed_and_sent_away(
    command: Command, settings: Settings
) -> None:
    name = a_name()
    made = await command("user", "create", name, "--role", "operator", stdin=f"{PASSWORD}\n")
    assert (made.exit_code, made.output) == (0, f"{name} can log in, as operator.\n")
    assert await matches(settings, name, PASSWORD)

    again = f"another {PASSWORD}"
    changed = await command("user", "set-password", name, stdin=f"{again}\r\n")
    assert changed.exit_code == 0, changed.output
    assert await matches(settings, name, again)
    assert not await matches(settings, name, PASSWORD)

    roles = await command("user", "set-roles", name, "--role", "finance", "--role", "operator")
    assert roles.exit_code == 0, roles.output
    gone = await command("user", "disable", name)
    assert gone.exit_code == 0, gone.output
    [listed] = [
        each
        for each in orjson.loads((await command("user", "list", "--json")).output)
        if each["name"] == name
    ]
    assert listed["roles"] == ["operator", "finance"]
    assert listed["disabledAt"] is not None
    assert PASSWORD not in repr(listed)


@pytest.mark.parametrize("changed", ["disable", "set-password"])
async def test_what_somebody_has_left_of_a_token_changes_nothing_after(
    command: Command, settings: Settings, database: Database, changed: str
) -> None:
    async with own_issuer(settings, database) as own, served(create_app(own.settings)) as api:
        who = await own.somebody()
        session = await own.logged_in(who)
        keyed = {**bearer(session), "Idempotency-Key": uuid4().hex}
        pays = partial(api.post, "/api/v1/payments", headers=keyed)
        body = {"orderId": new_id(), "method": "CARD"}
        refused(await pays(json=body), 404, "not-found")

        told = await command("user", changed, who.name, stdin=f"another {PASSWORD}\n")

        assert told.exit_code == 0, told.output
        refused(await pays(json=body), 401, "unauthenticated")


async def test_a_customer_is_named_and_must_be_there(command: Command, database: Database) -> None:
    customer_id, name = f"c-{uuid4().hex}", a_name()
    making = ("user", "create", name, "--role", "customer")
    without = await command(*making, stdin=f"{PASSWORD}\n")
    unknown = await command(*making, "--customer", customer_id, stdin=f"{PASSWORD}\n")
    assert "customerId: is needed for the role customer" in str(without.exception)
    assert f"There is no customer {customer_id}" in str(unknown.exception)
    async with database.begin(SYSTEM) as tx:
        await customer.put(tx, customer_id)

    made = await command(*making, "--customer", customer_id, stdin=f"{PASSWORD}\n")

    assert made.exit_code == 0, made.output
    listed = (await command("user", "list", "--limit", "10000")).output
    assert f"{name}  customer" in listed
    assert customer_id in listed


@pytest.mark.parametrize("said", ["", "\n", "short\n"])
async def test_without_a_password_nobody_is_made(
    command: Command, settings: Settings, said: str
) -> None:
    name = a_name()

    told = await command("user", "create", name, "--role", "operator", stdin=said)

    assert told.exit_code == 1
    assert await named(settings, name) is None


async def test_a_password_is_no_argument(command: Command) -> None:
    """Those are read by everybody on the machine."""
    for words in (("--password", PASSWORD), (PASSWORD,)):
        told = await command("user", "create", a_name(), "--role", "operator", *words)
        assert told.exit_code == 2, told.output
    assert PASSWORD not in " ".join(sys.argv)


async def test_keys_are_listed_rotated_and_replaced(command: Command, settings: Settings) -> None:
    async with settings_of_its_own(settings) as own:
        await _rotate(partial(command, AUTH_DATABASE_URL=own.auth_database_url))


async def _rotate(command: Command) -> None:
    await command("auth", "rotate-keys")
    rotated = await command("auth", "rotate-keys")
    listed = await command("auth", "keys")
    assert "signs from" in rotated.output
    assert "current" in listed.output
    assert "next" in listed.output

    replaced = await command("auth", "rotate-keys", "--leaked")

    assert replaced.exit_code == 0, replaced.output
    after = (await command("auth", "keys")).output
    assert after.count("current") == 1
    assert "next" not in after


async def test_our_own_issuer_is_off_unless_it_is_configured(command: Command) -> None:
    told = await command("auth")
    assert told.exit_code == 1
    assert "Our own issuer is off: set AUTH_ISSUER" in str(told.exception)
