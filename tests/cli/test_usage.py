"""`billing usage void`: an event that should not have been reported is never billed."""

from decimal import Decimal
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError

from domain.access import SYSTEM
from domain.approval import ApprovalPolicy
from domain.pricing import Charge, ChargeModel, Plan
from domain.settlement import SettlementRequest
from service.starts import start_settlement
from store import invoice, pricing, usage
from store.database import Database
from tests.cli.conftest import Command
from tests.support.cashier import WAITS
from tests.support.desks import until_it_waits
from tests.support.tenants import SINCE, tenants
from tests.support.usage import event

pytestmark = pytest.mark.usefixtures("settlements")

ABSURD = "999999999999999"


async def test_a_month_that_an_absurd_event_stopped_can_be_settled(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2022-11", 1)
    [name] = wanted.customers
    wrong = f"e-{uuid4().hex}"
    async with database.begin(SYSTEM) as tx:
        month = event(name).occurred_at.replace(year=2022, month=11)
        await usage.ingest(tx, [event(name, wrong, ABSURD, month)])
    request = SettlementRequest(name, wanted.period, waits=WAITS)
    with pytest.raises(WorkflowFailureError):
        await (await start_settlement(temporal_client, request)).result()

    voided = await command("usage", "void", "--yes", name, wrong, "--reason", "a typo")
    again = await command("usage", "void", "--yes", name, wrong, "--reason", "again")

    await (await start_settlement(temporal_client, request)).result()
    assert voided.stdout == f"Event {wrong} of {name} will never be billed.\n"
    assert again.stdout == f"Event {wrong} of {name} was voided before: a typo\n"
    assert await wanted.invoiced() == {name: [1_000]}


async def test_usage_without_a_price_that_stopped_its_month_can_be_voided(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2021-03", 1)
    [name] = wanted.customers
    month, wrong = event(name).occurred_at.replace(year=2021, month=3), f"e-{uuid4().hex}"
    async with database.begin(SYSTEM) as tx:
        await usage.ingest(tx, [event(name, wrong, "5", month, "EGRESS")])
    request = SettlementRequest(name, wanted.period, waits=WAITS)
    with pytest.raises(WorkflowFailureError):
        await (await start_settlement(temporal_client, request)).result()

    voided = await command("usage", "void", "--yes", name, wrong, "--reason", "a typo")
    await (await start_settlement(temporal_client, request)).result()

    assert voided.stdout == f"Event {wrong} of {name} will never be billed.\n"
    assert await wanted.invoiced() == {name: [1_000]}


async def test_usage_that_waits_for_approval_is_voided_after_its_draft_is_rejected(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2021-04", 1)
    [name] = wanted.customers
    month, wrong = event(name).occurred_at.replace(year=2021, month=4), f"e-{uuid4().hex}"
    async with database.begin(SYSTEM) as tx:
        await usage.ingest(tx, [event(name, wrong, "5", month)])
    asks = ApprovalPolicy(thresholds={"KRW": 1})
    request = SettlementRequest(name, wanted.period, approval=asks, waits=WAITS)
    await until_it_waits(database, temporal_client, request)
    void = ("usage", "void", "--yes", name, wrong, "--reason", "a typo")

    refused = await command(*void)
    async with database.engine.connect() as tx:
        draft = await invoice.of_month(tx, name, wanted.period)
    assert draft is not None
    await command("invoice", "reject", "--yes", draft.id, "--reason", "a typo in it")
    voided = await command(*void)

    assert str(refused.exception) == (
        f"The draft {draft.id} has event {wrong} and waits for approval: reject it first."
    )
    assert voided.stdout == f"Event {wrong} of {name} will never be billed.\n"


async def test_usage_of_a_skipped_month_can_be_voided_and_its_allowance_is_whole_again(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2021-05", 1)
    [name] = wanted.customers
    free = Charge("API_CALL", ChargeModel.PER_UNIT, Decimal(1_500), unit_price=Decimal(1))
    month, wrong = event(name).occurred_at.replace(year=2021, month=5), f"e-{uuid4().hex}"
    async with database.begin(SYSTEM) as tx:
        await pricing.put(tx, Plan(wanted.plan, 1, "KRW", (free,)), SINCE)
        await usage.ingest(tx, [event(name, wrong, "400", month)])
    request = SettlementRequest(name, wanted.period, waits=WAITS)
    skipped = await (await start_settlement(temporal_client, request)).result()

    voided = await command("usage", "void", "--yes", name, wrong, "--reason", "a typo")
    async with database.begin(SYSTEM) as tx:
        await usage.ingest(tx, [event(name, None, "600", month)])
    await (await start_settlement(temporal_client, request)).result()

    assert skipped.status == "SKIPPED"
    assert voided.stdout == f"Event {wrong} of {name} will never be billed.\n"
    assert await wanted.invoiced() == {name: [100]}


@pytest.mark.parametrize(("free", "status"), [(1_500, "SKIPPED"), (0, "CANCELLED")])
async def test_what_a_draft_that_waits_is_priced_beside_stays_until_it_is_decided(
    command: Command, temporal_client: Client, database: Database, free: int, status: str
) -> None:
    """Its late usage costs what it costs because of what else was used in that month."""
    wanted = await tenants(database, "2021-09", 1, card="4000000000000002")
    [name] = wanted.customers
    charge = Charge("API_CALL", ChargeModel.PER_UNIT, Decimal(free), unit_price=Decimal(1))
    month, wrong = event(name).occurred_at.replace(year=2021, month=9), f"e-{uuid4().hex}"
    async with database.begin(SYSTEM) as tx:
        await pricing.put(tx, Plan(wanted.plan, 1, "KRW", (charge,)), SINCE)
        await usage.ingest(tx, [event(name, wrong, "400", month)])
    september = SettlementRequest(name, wanted.period, waits=WAITS)
    billed = await (await start_settlement(temporal_client, september)).result()
    async with database.begin(SYSTEM) as tx:
        await usage.ingest(tx, [event(name, None, "600", month)])
    asks = ApprovalPolicy(thresholds={"KRW": 1})
    october = SettlementRequest(name, "2021-10", approval=asks, waits=WAITS)
    await until_it_waits(database, temporal_client, october)
    if status == "CANCELLED":
        await command(
            "invoice", "cancel", "--yes", billed.invoice_id or "", "--reason", "a typo in it"
        )
    void = ("usage", "void", "--yes", name, wrong, "--reason", "a typo")

    refused = await command(*void)
    async with database.engine.connect() as tx:
        draft = await invoice.of_month(tx, name, "2021-10")
        before = await invoice.find(tx, billed.invoice_id or "")
    assert draft is not None
    await command("invoice", "reject", "--yes", draft.id, "--reason", "a typo behind it")
    voided = await command(*void)

    assert str(refused.exception) == (
        "The draft of 2021-10 has usage of 2021-09 and waits for approval: decide it first."
    )
    assert before is not None
    assert before.status == status, "nothing was half done"
    assert voided.stdout == f"Event {wrong} of {name} will never be billed.\n"


async def test_what_an_invoice_has_cannot_be_voided(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2022-12", 1)
    [name] = wanted.customers
    billed = f"e-{uuid4().hex}"
    async with database.begin(SYSTEM) as tx:
        month = event(name).occurred_at.replace(year=2022, month=12)
        await usage.ingest(tx, [event(name, billed, "1", month)])
    request = SettlementRequest(name, wanted.period, waits=WAITS)
    await (await start_settlement(temporal_client, request)).result()

    refused = await command("usage", "void", "--yes", name, billed, "--reason", "too late")
    unknown = await command("usage", "void", "--yes", name, "never", "--reason", "a typo")
    silent = await command("usage", "void", "--yes", name, billed, "--reason", " ")

    assert refused.exit_code == 1
    async with database.engine.connect() as tx:
        issued = await invoice.of_month(tx, name, wanted.period)
    assert issued is not None
    stays = "what is issued stays as it is, unless it is cancelled"
    assert str(refused.exception) == f"Invoice {issued.id} has event {billed}: {stays}."
    assert str(unknown.exception) == f"There is no event never of {name}."
    assert "Say in --reason why" in str(silent.exception)
