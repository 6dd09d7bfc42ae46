"""`billing payment`: which there are, and what happened to one."""

import json
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client

from cli.options import as_id
from cli.refused import Refused
from domain.access import SYSTEM
from domain.ledger import Transaction
from domain.refund import late_capture_transaction
from domain.waits import Waits
from runtime.settings import Settings
from service.starts import start_payment
from store import ledger, payment
from tests.cli.conftest import Command
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.unfinished import accepted


async def test_a_completed_payment_is_told_from_the_order_to_the_events(
    command: Command, billing: Billing
) -> None:
    order_id = await billing.order(1500)
    paid = await billing.pay(order_id)
    refund = {"paymentId": paid["id"], "amount": 400, "reason": "one was [bold]broken"}
    assert (await billing.post("/api/v1/refunds", refund)).status_code == 201

    shown = await command("payment", "show", paid["id"])

    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0] == f"Payment {paid['id']}: COMPLETED"
    for told in (
        f"1,500 KRW by CARD from {billing.customer_id}",
        f"for order {order_id}, which is COMPLETED",
        "400 KRW were given back",
        "gateway.charge     DONE",
        f"charge of 1,500 KRW under key {paid['id']}:charge:1: CAPTURED",
        paid["gatewayReference"],
        "billing.payment.completed    version 1 of the payment",
        "billing.order.completed      version 4 of the order",
        "400 KRW, COMPLETED (one was [bold]broken)",
        f"http://ui/namespaces/billing/workflows/payment%2F{paid['id']}",
    ):
        assert told in shown.output
    assert any(line.split() == ["capture", "sales", "1,500", "KRW"] for line in lines)
    assert any(line.split() == ["refund", "sales", "-400", "KRW"] for line in lines)


async def test_a_declined_payment_says_why_in_our_words_and_in_the_gateways(
    command: Command, billing: Billing
) -> None:
    await billing.top_up(5000)
    card = await billing.add_card("4000000000009995")
    paid = await billing.pay(
        await billing.order(3000), "SPLIT", walletAmount=1000, paymentMethodId=card
    )

    shown = await command("payment", "show", paid["id"])

    assert "why: declined. The card has insufficient funds." in shown.output
    assert "in the gateway's words: insufficient_funds" in shown.output
    wallet = f"wallet {billing.customer_id}"
    assert f"made up of 1,000 KRW of {wallet}, 2,000 KRW by card" in shown.output
    assert "wallet.hold        UNDONE" in shown.output


async def test_points_are_told_like_every_other_part(command: Command, billing: Billing) -> None:
    await billing.give_points(300)
    order_id = (await billing.order_of("A", 1_000, points=300))["id"]
    paid = await billing.pay(order_id)
    refund = {"paymentId": paid["id"], "reason": "all of it"}
    assert (await billing.post("/api/v1/refunds", refund)).status_code == 201

    shown = await command("payment", "show", paid["id"])

    assert f"made up of 700 KRW by card, 300 points of {billing.customer_id}" in shown.output
    assert "1,000 KRW, COMPLETED (all of it)" in shown.output


async def test_a_failed_payment_whose_money_came_late_does_not_say_that_nothing_was_taken(
    command: Command, billing: Billing
) -> None:
    billing.leaves_residue()
    card = await billing.add_card("4000000000009995")
    paid = await billing.pay(await billing.order(3000), paymentMethodId=card)
    before = await command("payment", "show", paid["id"])
    async with billing.database.begin(SYSTEM) as tx:
        row = await payment.find(tx, paid["id"])
        assert row is not None
        captured = late_capture_transaction(payment.request(row, Waits()))
        await ledger.append(tx, captured)

    kept = await command("payment", "show", paid["id"])
    async with billing.database.begin(SYSTEM) as tx:
        back = tuple(replace(each, amount=-each.amount) for each in captured.postings)
        key = f"refund/{uuid4()}"
        await ledger.append(tx, Transaction(key, "refund", back, paid["id"]))
    given_back = await command("payment", "show", paid["id"])

    assert before.output.splitlines()[1] == "  nothing was taken"
    assert kept.output.splitlines()[1] == "  3,000 KRW were taken late, and are not given back yet"
    assert given_back.output.splitlines()[1] == "  what was taken late was given back"


async def test_an_order_shows_all_its_payments_to_programs_too(
    command: Command, billing: Billing
) -> None:
    card = await billing.add_card("4000000000000002")
    order_id = await billing.order(1000)
    await billing.pay(order_id, paymentMethodId=card)
    good = await billing.add_card("4242424242424242")
    await billing.pay(order_id, paymentMethodId=good)

    shown = await command("payment", "show", order_id, "--json")

    stories = json.loads(shown.stdout)
    assert [story["payment"]["status"] for story in stories] == ["FAILED", "COMPLETED"]
    assert {story["orderStatus"] for story in stories} == {"COMPLETED"}
    assert [posting["amount"] for posting in stories[1]["postings"]] == [-1000, 1000, -10, 10]
    assert stories[0]["workflows"][0]["status"] == "COMPLETED"
    assert "bk_" not in shown.output


async def test_what_it_waits_for_comes_from_temporal(
    command: Command, billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    """The gateway took the money and its line broke; the charge is sent again in an hour."""
    await billing.add_card("4000000000014003")
    body = {"orderId": await billing.order(1000), "method": "CARD"}
    payment_id = (await accepted(billing, settings, "/api/v1/payments", body)).json()["id"]
    async with billing.database.engine.connect() as tx:
        row = await payment.find(tx, payment_id)
    assert row is not None
    patient = payment.request(row, Waits(ladder=(timedelta(hours=1),)))
    pursued = await start_payment(temporal_client, patient)

    async def waiting() -> list[str]:
        shown = await command("payment", "show", payment_id, "--json")
        [workflow] = json.loads(shown.stdout)[0]["workflows"]
        assert workflow["status"] == "RUNNING"
        return [timer["summary"] for timer in workflow["timers"]]

    assert await eventually(waiting) == ["send the charge again"]
    await pursued.signal("gateway_hint")
    assert (await pursued.result()).status == "COMPLETED"


async def test_without_temporal_the_rest_is_still_told(command: Command, billing: Billing) -> None:
    paid = await billing.pay(await billing.order(1000))

    shown = await command("--direct", "payment", "show", paid["id"], TEMPORAL_ADDRESS="127.0.0.1:1")

    assert shown.exit_code == 0, shown.output
    assert "Temporal at 127.0.0.1:1 cannot be asked: there is no connection." in shown.output
    assert f"Payment {paid['id']}: COMPLETED" in shown.output


async def test_an_unknown_id_is_refused_in_one_sentence(command: Command) -> None:
    unknown = str(uuid4())

    shown = await command("payment", "show", unknown)

    assert isinstance(shown.exception, Refused)
    assert str(shown.exception) == (
        f"There is no payment, and nothing that has payments, with the id {unknown}."
    )


async def test_what_is_no_id_is_refused_before_anything_is_asked(command: Command) -> None:
    shown = await command("payment", "show", "order-1", DATABASE_URL=None)

    assert isinstance(shown.exception, Refused)
    assert "'order-1' is not an id" in str(shown.exception)


def test_an_id_is_written_in_one_way_only() -> None:
    """Not as code could read it: without hyphens, in braces, with a line feed."""
    id_ = "019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11"
    assert as_id(id_.upper()) == id_

    for near in (f"{id_}\n", id_.replace("-", ""), f"{{{id_}}}", f"urn:uuid:{id_}", id_[:-1] + "١"):
        with pytest.raises(Refused, match="is not an id"):
            as_id(near)


async def test_payments_are_found_by_state_customer_and_their_number_at_the_pg(
    command: Command, billing: Billing, settings: Settings
) -> None:
    paid = await billing.pay(await billing.order(1_500))
    await billing.pay(await billing.order(700))
    mine = ("payment", "list", "--customer", billing.customer_id)
    body = {"orderId": await billing.order(900), "method": "CARD"}
    pending = (await accepted(billing, settings, "/api/v1/payments", body)).json()

    listed = await command(*mine, "--status", "COMPLETED", "--sort", "-amount")
    hanging = await command(*mine, "--open", "--older-than", "PT0S", "--json")
    number = await command("payment", "list", "--gateway-reference", paid["gatewayReference"])
    refused = await command(*mine, "--min-amount", "1000")
    large = await command(*mine, "--min-amount", "1000", "--currency", "KRW", "--csv")

    rows = [line.split() for line in listed.stdout.splitlines()[1:]]
    assert [row[2] for row in rows] == ["1,500", "700"]
    assert rows[0][0] == paid["id"]
    assert [each["id"] for each in json.loads(hanging.stdout)] == [pending["id"]]
    assert number.stdout.splitlines()[1].split()[0] == paid["id"]
    assert str(refused.exception) == "currency: is needed with minAmount and maxAmount."
    assert large.stdout.splitlines()[1].startswith(f"{paid['id']},")
