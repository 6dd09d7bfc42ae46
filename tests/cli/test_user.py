"""`billing user` and `billing auth`: who logs in at our own issuer, from the command line."""

import sys
from functools import partial
from uuid import uuid4

import orjson
import pytest

from domain.access import SYSTEM
from runtime import realm
from runtime.settings import Settings
from service import user as users
from service.password import Passwords
from store import customer
from store.database import Database
from tests.cli.conftest import Command
from tests.support.databases import settings_of_its_own

PASSWORD = "correct horse battery staple"


def a_name() -> str:
    return f"u-{uuid4().hex}"


async def matches(settings: Settings, database: Database, name: str, password: str) -> bool:
    known = await users.named(realm.of(settings, database), name)
    assert known is not None
    good, _ = await Passwords().matches(password, known.password_hash)
    return good


async def test_somebody_is_made_listed_changed_and_sent_away(
    command: Command, settings: Settings, database: Database
) -> None:
    name = a_name()
    made = await command("user", "create", name, "--role", "operator", stdin=f"{PASSWORD}\n")
    assert (made.exit_code, made.output) == (0, f"{name} can log in, as operator.\n")
    assert await matches(settings, database, name, PASSWORD)

    again = f"another {PASSWORD}"
    changed = await command("user", "set-password", name, stdin=f"{again}\r\n")
    assert changed.exit_code == 0, changed.output
    assert await matches(settings, database, name, again)
    assert not await matches(settings, database, name, PASSWORD)

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
    command: Command, settings: Settings, database: Database, said: str
) -> None:
    name = a_name()

    told = await command("user", "create", name, "--role", "operator", stdin=said)

    assert told.exit_code == 1
    assert await users.named(realm.of(settings, database), name) is None


async def test_a_password_is_no_argument(command: Command) -> None:
    """Those are read by everybody on the machine."""
    for words in (("--password", PASSWORD), (PASSWORD,)):
        told = await command("user", "create", a_name(), "--role", "operator", *words)
        assert told.exit_code == 2, told.output
    assert PASSWORD not in " ".join(sys.argv)


async def test_keys_are_listed_rotated_and_replaced(command: Command, settings: Settings) -> None:
    async with settings_of_its_own(settings) as own:
        await _rotate(partial(command, DATABASE_URL=own.database_url))


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
