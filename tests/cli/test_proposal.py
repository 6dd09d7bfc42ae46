"""The command line and the API are two doors of one house: one proposes, the other carries out."""

import httpx2

from cli.settings import os_user
from tests.api.settling import NO_MONEY, invoiced
from tests.cli.conftest import Command, command
from tests.support.audit import trail
from tests.support.billing import Billing
from tests.support.persons import FIRST, asks

__all__ = ["command"]


async def test_what_a_command_proposes_a_call_carries_out(
    billing: Billing, api: httpx2.AsyncClient, command: Command, settlements: None
) -> None:
    await billing.add_card(NO_MONEY)
    owed = (await invoiced(billing, 1_010_001))["id"]
    write_off = ("invoice", "write-off", "--yes", owed, "--reason", "bankrupt")

    told = await command(*write_off)
    again = await command(*write_off)
    listed = await command("proposal", "list", "--limit", "10000")

    assert told.exit_code == again.exit_code == 1
    assert f"needs a second person: os/{os_user()} has proposed it" in str(told.exception)
    assert str(again.exception) == str(told.exception)
    assert f"To write off the invoice of 1,000,001 KRW of {billing.customer_id}" in listed.stdout
    assert (await billing.get(f"/api/v1/invoices/{owed}"))["status"] != "WRITTEN_OFF"

    [proposed] = await trail(
        billing.database, action="DECISION_PROPOSED", customer_id=billing.customer_id
    )
    withdrawn = await command("proposal", "withdraw", proposed.target_id, "--reason", "not yet")

    assert withdrawn.output == "The proposal is withdrawn.\n"
    assert billing.customer_id not in (await command("proposal", "list", "--limit", "10000")).output


async def test_what_a_call_proposes_a_command_carries_out(
    billing: Billing, api: httpx2.AsyncClient, command: Command, settlements: None
) -> None:
    await billing.add_card(NO_MONEY)
    large = (await invoiced(billing, 1_010_001))["id"]
    path = f"/api/v1/invoices/{large}/write-off"

    proposed = await asks(api, FIRST, "POST", path, {"reason": "bankrupt"})
    told = await command("invoice", "write-off", "--yes", large, "--reason", "seen by me, too")

    assert proposed.status_code == 409, proposed.text
    assert told.exit_code == 0, told.output
    [noted] = await trail(billing.database, action="INVOICE_WRITTEN_OFF", target_id=large)
    assert noted.reason == "seen by me, too"
    assert (noted.after or {})["persons"] == [f"dev/{FIRST}", f"os/{os_user()}"]
