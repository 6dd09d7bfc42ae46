"""`billing invoice` and `billing dead-letter`: what an invoice says, why, and how it is closed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import orjson
import pytest
from sqlalchemy import text, update
from temporalio.client import Client

from cli.refused import Refused
from cli.settings import os_user
from domain.access import SYSTEM
from domain.approval import ApprovalPolicy
from domain.dunning import DunningPolicy
from domain.pricing import Charge, ChargeModel, Plan
from domain.settlement import SettlementRequest
from service.starts import start_settlement
from store import customer, invoice, pricing, usage
from store.database import Database
from store.key_ring import NO_KEYS
from store.tables import invoices, usage_events
from tests.cli.conftest import Command
from tests.support.billing import GOOD_CARD, WITHOUT_RESIDUE
from tests.support.cashier import WAITS
from tests.support.conditions import eventually
from tests.support.desks import until_it_waits
from tests.support.tenants import SINCE, Tenants, tenants
from tests.support.usage import event

pytestmark = pytest.mark.usefixtures("settlements")

DECLINED_CARD = "4000000000000002"
LOST_CARD = "4000000000009987"


async def invoiced(
    client: Client,
    database: Database,
    period: str,
    status: str,
    card: str = GOOD_CARD,
    **more: Any,
) -> tuple[str, Tenants]:
    """One customer's invoice in this status; its id."""
    wanted = await tenants(database, period, 1, card=card)
    [customer_id] = wanted.customers
    request = SettlementRequest(customer_id, period, waits=WAITS, **more)
    await start_settlement(client, request)

    async def there() -> str | None:
        async with database.engine.connect() as tx:
            row = await invoice.of_month(tx, customer_id, period)
        charged = row is not None and (row.status != "ISSUED" or row.next_attempt_at is not None)
        return row.id if row is not None and charged and row.status == status else None

    found = await eventually(there)
    assert found is not None
    return found, wanted


async def test_an_invoice_is_shown_explained_and_verified(
    command: Command, temporal_client: Client, database: Database
) -> None:
    id_, wanted = await invoiced(temporal_client, database, "2022-01", "PAID")
    [customer_id] = wanted.customers

    shown = await command("invoice", "show", id_)
    as_json = await command("invoice", "show", id_, "--json")
    explained = await command("invoice", "explain", id_)
    verified = await command("invoice", "verify", id_)

    assert f"Invoice {id_}: PAID, 1,000 KRW" in shown.output
    assert f"2022-01 of {customer_id}" in shown.output
    assert orjson.loads(as_json.stdout)["total"] == 1000
    assert "1. API_CALL of 2022-01: 1,000 KRW" in explained.output
    assert "1,000 × 1 KRW = 1,000 KRW" in explained.output
    assert "1,000 from 1 events, 2022-01-10 00:00:00 UTC to 2022-01-10" in explained.output
    assert f"price list {wanted.plan} version 1 for 2022-01" in explained.output
    assert f"workflow settlement/{customer_id}/2022-01" in explained.output
    assert verified.exit_code == 0
    assert verified.stdout == (
        f"Equal: the events and the price list of invoice {id_} come to 1,000 KRW, as billed.\n"
    )


async def test_the_events_of_an_invoice_are_listed_and_written(
    command: Command, temporal_client: Client, database: Database
) -> None:
    id_, wanted = await invoiced(temporal_client, database, "2021-09", "PAID")
    [customer_id] = wanted.customers

    listed = await command("invoice", "lineage", id_)
    as_csv = await command("invoice", "lineage", id_, "--export", "csv")
    as_lines = await command("invoice", "lineage", id_, "--export", "jsonl")
    none = await command("invoice", "lineage", id_, "--resource-type", "STORAGE")
    of_customer = await command("usage", "list", "--customer", customer_id, "--json")
    unknown = await command("invoice", "lineage", str(uuid4()), "--export", "csv")

    [row] = listed.stdout.splitlines()[1:]
    [event] = map(orjson.loads, as_lines.stdout.splitlines())
    assert row.split()[:3] == [event["eventId"], "API_CALL", "1000"]
    head, line = as_csv.stdout.splitlines()
    assert head.startswith("eventId,customerId,resourceType,quantity,")
    assert line.startswith(f"{event['eventId']},{customer_id},API_CALL,1000,")
    assert (none.stdout, none.stderr) == ("", "No events.\n")
    assert orjson.loads(of_customer.stdout) == [event]
    assert str(unknown.exception).startswith("There is no invoice ")
    assert unknown.stdout == ""


async def test_what_is_set_off_is_explained_without_a_product_of_nothing(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2021-08", 1)
    [name] = wanted.customers
    cents = Charge("API_CALL", ChargeModel.PER_UNIT, unit_price=Decimal("1.000225"))
    async with database.begin(SYSTEM) as tx:
        await pricing.put(tx, Plan(wanted.plan, 1, "USD", (cents,)), SINCE)
    request = SettlementRequest(name, wanted.period, waits=WAITS)
    settled = await (await start_settlement(temporal_client, request)).result()

    explained = await command("invoice", "explain", settled.invoice_id or "")

    assert "per unit: 1,000 × 0.01000225 USD = 10.00225 USD\n" in explained.output
    assert "rounded half-even: -0.00225 USD\n" in explained.output


async def test_an_invoice_stays_right_when_its_customer_moves(
    command: Command, temporal_client: Client, database: Database
) -> None:
    """Its months were those of Seoul: there March began at 15:00 UTC of the last of February."""
    wanted = await tenants(database, "2022-03", 1)
    [name] = wanted.customers
    early = event(name, None, "5", datetime(2022, 2, 28, 16, tzinfo=UTC))
    async with database.begin(SYSTEM) as tx:
        await customer.agree(tx, name, time_zone="Asia/Seoul")
        await usage.ingest(tx, [early])
    request = SettlementRequest(name, wanted.period, waits=WAITS)
    settled = await (await start_settlement(temporal_client, request)).result()

    async with database.begin(SYSTEM) as tx:
        await customer.agree(tx, name, time_zone="UTC")
    verified = await command("invoice", "verify", settled.invoice_id or "")

    assert "come to 1,005 KRW, as billed" in verified.output


async def test_drafts_that_wait_are_listed(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2022-10", 1)
    [name] = wanted.customers
    asks = ApprovalPolicy(thresholds={"KRW": 1})
    request = SettlementRequest(name, wanted.period, approval=asks, waits=WAITS)
    await until_it_waits(database, temporal_client, request)

    listed = await command("invoice", "list", "--status", "AWAITING_APPROVAL", "--customer", name)
    none = await command("invoice", "list", "--status", "PAID", "--customer", name)

    [row] = listed.stdout.splitlines()[1:]
    assert row.split()[1:6] == ["AWAITING_APPROVAL", "2022-10", name, "1,000", "KRW"]
    assert "the total 1,000 KRW is above 1 KRW" in row
    assert (none.stdout, none.stderr) == ("", "No invoices.\n")


async def test_what_was_tampered_with_is_found(
    command: Command, temporal_client: Client, database: Database, owner: Database
) -> None:
    """By whoever owns the tables: nobody else can."""
    id_, wanted = await invoiced(temporal_client, database, "2022-02", "PAID")
    WITHOUT_RESIDUE.difference_update(wanted.customers)
    async with owner.begin(SYSTEM) as tx:
        await tx.execute(text("ALTER TABLE invoices DISABLE TRIGGER issued_stays"))
        await tx.execute(
            update(usage_events).where(usage_events.c.invoice_id == id_).values(quantity=999)
        )
        await tx.execute(update(invoices).where(invoices.c.id == id_).values(total=1001))
        await tx.execute(text("ALTER TABLE invoices ENABLE ALWAYS TRIGGER issued_stays"))

    verified = await command("invoice", "verify", id_)

    assert verified.exit_code == 1
    for sentence in (
        "API_CALL of 2022-02: the quantity is 999.000000, but the invoice says 1000.000000.",
        "API_CALL of 2022-02: 999.000000 were counted, but 1000 were priced.",
        "The lines come to 1000, but the total is 1001.",
        "The price list comes to 1000, but the total is 1001.",
    ):
        assert sentence in verified.output


@pytest.mark.parametrize(
    ("verb", "period", "status"),
    [("approve", "2022-03", "ISSUED PAID"), ("reject", "2022-04", "REJECTED")],
)
async def test_a_draft_is_decided_and_the_same_command_is_harmless(
    command: Command,
    temporal_client: Client,
    database: Database,
    verb: str,
    period: str,
    status: str,
) -> None:
    approval = ApprovalPolicy(thresholds={"KRW": 1})
    id_, _ = await invoiced(
        temporal_client, database, period, "AWAITING_APPROVAL", approval=approval
    )

    decided = await command("invoice", verb, "--yes", id_, "--reason", "as agreed")
    shown = await command("invoice", "show", id_)

    assert decided.exit_code == 0, decided.exception
    assert decided.stdout.startswith("The invoice of 1,000 KRW is ")
    assert decided.stdout.strip(".\n").rsplit(" ", 1)[1] in status.split()
    assert f"by os/{os_user()}: as agreed" in shown.output


@pytest.mark.parametrize(
    ("verb", "period", "status"),
    [
        ("paid-outside", "2022-05", "PAID"),
        ("write-off", "2022-06", "WRITTEN_OFF"),
        ("cancel", "2022-07", "CANCELLED"),
    ],
)
async def test_an_invoice_is_closed(
    command: Command,
    temporal_client: Client,
    database: Database,
    verb: str,
    period: str,
    status: str,
) -> None:
    id_, _ = await invoiced(temporal_client, database, period, "ISSUED", DECLINED_CARD)

    charged = await command("invoice", "pay", "--yes", id_)
    closed = await command("invoice", verb, "--yes", id_, "--reason", "as agreed")
    twice = await command("invoice", verb, "--yes", id_, "--reason", "as agreed")
    other = await command("invoice", verb, "--yes", id_, "--reason", "not as agreed")
    again = await command("invoice", "pay", "--yes", id_)

    assert isinstance(charged.exception, Refused)
    assert str(charged.exception).startswith("The invoice of 1,000 KRW is ISSUED: ")
    assert "(card_declined)" in str(charged.exception)
    assert closed.stdout == f"The invoice of 1,000 KRW is {status}.\n"
    assert twice.stdout == closed.stdout
    assert str(other.exception) == f"The invoice is {status}."
    if status != "PAID":
        assert str(again.exception) == f"The invoice is {status}."


async def test_what_a_charge_has_paid_was_decided_by_nobody(
    command: Command, temporal_client: Client, database: Database
) -> None:
    id_, _ = await invoiced(temporal_client, database, "2021-06", "PAID")

    late = await command("invoice", "write-off", "--yes", id_, "--reason", "too late")

    assert str(late.exception) == "The invoice is PAID."


async def test_a_cancelled_month_is_reported_and_settled_again_when_it_is_named(
    command: Command, temporal_client: Client, database: Database
) -> None:
    id_, wanted = await invoiced(temporal_client, database, "2021-07", "ISSUED", DECLINED_CARD)
    [name] = wanted.customers
    await command("invoice", "cancel", "--yes", id_, "--reason", "a test account")

    verified = await command("invoice", "verify", id_)
    report = orjson.loads((await command("settlement", "report", "2021-07", "--json")).stdout)
    everybody = await command("settlement", "replay", "--yes", "2021-07")
    named = await command("settlement", "replay", "--yes", "2021-07", "--customer", name)
    again = orjson.loads((await command("settlement", "report", "2021-07", "--json")).stdout)

    assert str(verified.exception) == (
        "The invoice was cancelled: its usage is free, and nothing is billed."
    )
    assert (report["settled"], report["cancelled"], report["totals"]) == (0, 1, {})
    assert everybody.stdout == "Nothing of 2021-07 that could be settled again.\n"
    assert named.stdout == f"{name}: SETTLED\n"
    assert (again["settled"], again["cancelled"], again["totals"]) == (1, 0, {"KRW": 1_000})


async def test_without_a_card_pay_says_so_and_charges_once_there_is_one(
    command: Command, temporal_client: Client, database: Database
) -> None:
    id_, wanted = await invoiced(temporal_client, database, "2022-09", "ISSUED", LOST_CARD)
    [name] = wanted.customers

    in_vain = await command("invoice", "pay", "--yes", id_)
    unknown = await command("invoice", "pay", "--yes", id_, "--payment-method", id_)
    async with database.begin(SYSTEM) as tx:
        await customer.add_payment_method(
            tx, str(uuid4()), name, "simulator", f"bk_{GOOD_CARD}", "4242", True, NO_KEYS
        )
    charged = await command("invoice", "pay", "--yes", id_)

    assert "there is no card that could be charged" in str(in_vain.exception)
    assert str(unknown.exception) == f"{name} has no such card; add one first."
    assert charged.stdout == "The invoice of 1,000 KRW is PAID.\n"


async def test_a_dead_letter_of_an_invoice_says_what_is_owed_and_what_was_tried(
    command: Command, temporal_client: Client, database: Database
) -> None:
    soon = DunningPolicy(ladder=(timedelta(milliseconds=1),))
    id_, wanted = await invoiced(
        temporal_client, database, "2022-08", "UNCOLLECTIBLE", DECLINED_CARD, dunning=soon
    )
    [name] = wanted.customers

    listed = await command("dead-letter", "list", "--customer", name)
    as_json = await command("dead-letter", "list", "--customer", name, "--json")
    [letter] = orjson.loads(as_json.stdout)
    shown = await command("dead-letter", "show", letter["messageId"])

    assert f"invoice/{id_}  still not paid after 2 charges: card_declined" in listed.stdout
    assert f"billing invoice pay|paid-outside|write-off|cancel {id_}" in shown.stdout
    assert "1,000 KRW of" in shown.output
    assert shown.output.count("(card_declined)") >= 2
    assert letter["reference"] == f"invoice/{id_}"


@pytest.mark.parametrize(
    ("arguments", "noun"),
    [
        (("invoice", "show"), "invoice"),
        (("invoice", "verify"), "invoice"),
        (("invoice", "pay", "--yes"), "invoice"),
        (("dead-letter", "show"), "dead letter"),
    ],
)
async def test_an_unknown_id_is_refused(
    command: Command, arguments: tuple[str, ...], noun: str
) -> None:
    unknown = str(uuid4())

    told = await command(*arguments, unknown)

    assert told.exit_code == 1
    assert str(told.exception) == f"There is no {noun} {unknown}."


async def test_a_reason_is_needed(command: Command) -> None:
    told = await command("invoice", "cancel", "--yes", str(uuid4()), "--reason", " ")

    assert isinstance(told.exception, Refused)
    assert str(told.exception) == "Say in --reason why, in 500 characters at most."
