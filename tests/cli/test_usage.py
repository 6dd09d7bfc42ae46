"""`billing usage void`: an event that should not have been reported is never billed."""

from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError

from cli.system import Refused
from domain.settlement import SettlementRequest
from runtime.starts import start_settlement
from store import usage
from store.database import Database
from tests.cashier import WAITS
from tests.cli.conftest import Command
from tests.tenants import tenants
from tests.usage import event

pytestmark = pytest.mark.usefixtures("settlements")

ABSURD = "999999999999999"


async def test_a_month_that_an_absurd_event_stopped_can_be_settled(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2022-11", 1)
    [name] = wanted.customers
    wrong = f"e-{uuid4().hex}"
    async with database.begin() as tx:
        month = event(name).occurred_at.replace(year=2022, month=11)
        await usage.ingest(tx, [event(name, wrong, ABSURD, month)])
    request = SettlementRequest(name, wanted.period, waits=WAITS)
    with pytest.raises(WorkflowFailureError):
        await (await start_settlement(temporal_client, request)).result()

    voided = await command("usage", "void", name, wrong, "--reason", "a typo")
    again = await command("usage", "void", name, wrong, "--reason", "again")

    await (await start_settlement(temporal_client, request)).result()
    assert voided.output == f"Event {wrong} of {name} will never be billed.\n"
    assert again.output == f"Event {wrong} of {name} was voided before: a typo\n"
    assert await wanted.invoiced() == {name: [1_000]}


async def test_what_an_invoice_has_cannot_be_voided(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2022-12", 1)
    [name] = wanted.customers
    billed = f"e-{uuid4().hex}"
    async with database.begin() as tx:
        month = event(name).occurred_at.replace(year=2022, month=12)
        await usage.ingest(tx, [event(name, billed, "1", month)])
    request = SettlementRequest(name, wanted.period, waits=WAITS)
    await (await start_settlement(temporal_client, request)).result()

    refused = await command("usage", "void", name, billed, "--reason", "too late")
    unknown = await command("usage", "void", name, "never", "--reason", "a typo")
    silent = await command("usage", "void", name, billed, "--reason", " ")

    assert isinstance(refused.exception, Refused)
    assert str(refused.exception).startswith(f"An invoice has event {billed}")
    assert str(unknown.exception) == f"There is no event never of {name}."
    assert "Say in --reason why" in str(silent.exception)
