"""`billing key`: a key from its making to its end."""

import re

from sqlalchemy import select

from cli.settings import os_user
from domain.access import SYSTEM
from domain.api_key import read
from store.database import Database
from store.tables import api_keys
from tests.cli.conftest import Command
from tests.support.billing import Billing


async def test_a_key_from_its_making_to_its_end(
    command: Command, billing: Billing, database: Database
) -> None:
    made = await command("key", "create", "metering", "--network", "203.0.113.0/24")
    presented = read(made.stdout.splitlines()[0])
    assert presented is not None
    assert "metering: service, from 203.0.113.0/24 only, believed, never used" in made.stdout

    rotated = await command("key", "rotate", presented.id)
    successor = read(rotated.stdout.splitlines()[0])
    assert successor is not None
    revoked = await command("key", "revoke", presented.id)
    listed = await command("key", "list", "--limit", "10000")

    assert f"{presented.id}  metering  service" in listed.stdout
    assert re.search(rf"{successor.id}  metering .*believed +never used", listed.stdout)
    assert "revoked" in revoked.stdout
    assert presented.text not in listed.stdout
    async with database.read(SYSTEM) as tx:
        [by] = (
            await tx.execute(select(api_keys.c.created_by).where(api_keys.c.id == successor.id))
        ).scalars()
    assert by == f"os/{os_user()}"


async def test_a_key_of_a_customer_is_listed_with_its_customer(
    command: Command, billing: Billing
) -> None:
    mine = billing.customer_id
    nobody = await command("key", "list", "--customer", mine)
    await command(
        "key", "create", "portal", "--role", "customer", "--customer", mine, "--days", "30"
    )
    listed = await command("key", "list", "--customer", mine)

    assert (nobody.stdout, nobody.stderr) == ("", "There is no API key.\n")
    # Some of the first day has gone by.
    assert re.search(rf"portal +customer +{mine} .* believed for (29|30) days yet", listed.stdout)


async def test_what_is_no_id_of_a_key_is_refused_in_words(command: Command) -> None:
    refused = await command("key", "revoke", "dbk_live_abc")

    assert refused.exit_code != 0
    assert "is not the id of a key" in str(refused.exception)
