"""`billing refund`: what was given back."""

import orjson

from tests.cli.conftest import Command
from tests.support.billing import Billing


async def test_a_refund_is_listed_by_its_payment_and_shown(
    command: Command, billing: Billing
) -> None:
    paid = await billing.pay(await billing.order(2_000))
    other = await billing.pay(await billing.order(1_000))
    wish = {"paymentId": paid["id"], "amount": 500, "reason": "broken"}
    given = (await billing.post("/api/v1/refunds", wish)).json()
    await billing.post("/api/v1/refunds", {"paymentId": other["id"], "reason": "late"})

    listed = await command("refund", "list", "--payment", paid["id"])
    by_amount = ("refund", "list", "--customer", billing.customer_id, "--sort", "-amount")
    as_json = await command(*by_amount, "--json")
    shown = await command("refund", "show", given["id"])

    [row] = listed.stdout.splitlines()[1:]
    assert row.split()[:5] == [given["id"], "COMPLETED", "500", "KRW", billing.customer_id]
    assert [each["amount"] for each in orjson.loads(as_json.stdout)] == [1_000, 500]
    assert f"paymentId         {paid['id']}\n" in shown.stdout
    assert "cardAmount        500 KRW\n" in shown.stdout
