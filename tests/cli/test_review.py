"""`billing review`: an operator lists and decides what only a person may decide."""

from uuid import uuid4

import pytest
from temporalio.client import Client

from cli.refused import Refused
from domain.access import SYSTEM
from domain.payment import StockLine
from runtime.settings import Settings
from store import inventory
from tests.cli.conftest import Command
from tests.support.billing import Billing
from tests.support.cashier import Cashier
from tests.support.clean_slate import assert_clean_slate
from tests.support.dunning import SOFT_DECLINE
from tests.support.faults import Fault, FaultInjector
from tests.support.unfinished import payment_in_review, refund_in_review


@pytest.fixture
def cashier(billing: Billing, temporal_client: Client, faults: FaultInjector) -> Cashier:
    return Cashier(billing, temporal_client, faults)


async def test_a_payment_in_review_is_listed_decided_and_gone(
    command: Command, billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    payment_id = await payment_in_review(billing, settings, temporal_client)

    listed = await command("review", "list", "--limit", "10000")
    decision = (
        "review",
        "resolve",
        "--yes",
        payment_id,
        "failed",
        "--reason",
        "not in the PG's console",
    )
    first = await command(*decision)
    again = await command(*decision)

    [row] = [line.split() for line in listed.stdout.splitlines() if payment_id in line]
    assert row[:4] == [payment_id, "2,000", "KRW", billing.customer_id]
    assert "captured|failed" in row
    assert "billing review resolve ID ANSWER --reason" in listed.stderr
    assert first.stdout == again.stdout == "The payment of 2,000 KRW is FAILED.\n"
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert payment_id not in (await command("review", "list", "--limit", "10000")).output
    ended = await billing.get(f"/api/v1/payments/{payment_id}")
    assert (ended["failureCode"], ended["failureMessage"]) == (
        "resolved-failed",
        "not in the PG's console",
    )


async def test_a_refund_in_review_is_decided_by_the_same_command(
    command: Command, billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    refund_id = await refund_in_review(billing, settings, temporal_client)

    listed = await command("review", "list", "--limit", "10000")
    shown = await command("payment", "show", refund_id)
    resolved = await command(
        "review", "resolve", "--yes", refund_id, "refunded", "--reason", "seen there"
    )

    assert f"{refund_id}  2,000 KRW  {billing.customer_id}" in listed.stdout
    assert f"waits for you: billing review resolve {refund_id} refunded|failed" in shown.output
    assert resolved.stdout == "The refund of 2,000 KRW is COMPLETED.\n"
    refund = await billing.get(f"/api/v1/refunds/{refund_id}")
    assert refund["status"] == "COMPLETED"


async def test_nothing_waits(command: Command, billing: Billing) -> None:
    paid = await billing.pay(await billing.order(1000))

    resolved = await command(
        "review", "resolve", "--yes", paid["id"], "failed", "--reason", "why not"
    )

    assert isinstance(resolved.exception, Refused)
    assert str(resolved.exception) == "Nothing is waiting for a decision."


@pytest.mark.parametrize(
    ("outcome", "reason", "refusal"),
    [
        (
            "refunded",
            "seen",
            "outcome: Input should be 'captured', 'authorized', 'voided' or 'failed'.",
        ),
        (
            "voided",
            "seen",
            "voided is no answer: Has the PG taken the money? (captured or failed)",
        ),
        ("failed", " ", "Say in --reason how you know, in 500 characters at most."),
        ("failed", "x" * 501, "Say in --reason how you know, in 500 characters at most."),
    ],
)
async def test_a_decision_that_makes_no_sense_is_refused(
    command: Command,
    billing: Billing,
    settings: Settings,
    temporal_client: Client,
    outcome: str,
    reason: str,
    refusal: str,
) -> None:
    payment_id = await payment_in_review(billing, settings, temporal_client)

    resolved = await command("review", "resolve", "--yes", payment_id, outcome, "--reason", reason)

    assert isinstance(resolved.exception, Refused)
    assert str(resolved.exception) == refusal
    await command("review", "resolve", "--yes", payment_id, "failed", "--reason", "for the test")


async def test_an_unknown_id_is_refused(command: Command) -> None:
    unknown = str(uuid4())

    resolved = await command("review", "resolve", "--yes", unknown, "failed", "--reason", "seen")

    assert isinstance(resolved.exception, Refused)
    assert str(resolved.exception) == f"There is no payment or refund with the id {unknown}."


async def test_stock_of_a_withdrawn_sku_is_listed_and_let_go(
    command: Command, billing: Billing
) -> None:
    sku = await billing.put_stock(5)
    card = await billing.add_card("4000000000000002")
    failed = await billing.pay(await billing.order(1000), paymentMethodId=card)
    payment_id = failed["id"]
    async with billing.database.begin(SYSTEM) as tx:
        assert await inventory.reserve(tx, payment_id, StockLine(sku, 1))
    await billing.put_stock(5, sku, withdrawn=True)
    async with billing.database.begin(SYSTEM) as tx:
        assert await inventory.restore(tx, payment_id) == (0, 1)

    listed = await command("review", "stock", "--limit", "10000")
    told = await command("review", "restock", payment_id, "--reason", "sold", "--dry-run")
    first = await command("review", "restock", "--yes", payment_id, "--reason", "sold to the staff")
    again = await command("review", "restock", "--yes", payment_id, "--reason", "sold to the staff")

    assert f"{payment_id}  {sku}" in listed.stdout
    assert told.stdout == f"1 of {sku} would be let go.\n"
    assert first.stdout == "Of 1 SKUs the stock is let go.\n"
    assert again.stdout == "No stock waits there.\n"
    assert payment_id not in (await command("review", "stock", "--limit", "10000")).output
    stock = await billing.get(f"/api/v1/inventory/{sku}")
    assert (stock["onHand"], stock["reserved"]) == (5, 0)


async def test_letting_stock_go_tells_the_order_as_it_stands_by_then(
    command: Command, cashier: Cashier
) -> None:
    """Another payment may have completed it meanwhile."""
    billing, goods = cashier.billing, await cashier.goods()
    declined = await cashier.prepare(0, 1000, number=SOFT_DECLINE, goods=goods)
    reserved = cashier.plan(declined, "inventory.reserve", Fault.PARK_AFTER)
    failing = await cashier.start(declined)
    await reserved.reached.wait()
    await billing.put_stock(5, goods.sku, withdrawn=True)
    reserved.release.set()
    assert (await failing.result()).status == "FAILED"
    await billing.put_stock(5, goods.sku, withdrawn=False)
    completed = await cashier.prepare(0, 1000, goods=goods, order_id=declined.payable_id)
    assert (await cashier.pay(completed)).status == "COMPLETED"

    let_go = await command("review", "restock", "--yes", declined.payment_id, "--reason", "sold")

    assert let_go.stdout == "Of 1 SKUs the stock is let go.\n"
    await assert_clean_slate(billing)
