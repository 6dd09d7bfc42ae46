"""`billing order`: what was ordered, and how far its payment is."""

import orjson

from tests.cli.conftest import Command
from tests.support.billing import Billing


async def test_an_order_is_listed_and_shown_with_its_lines_and_steps(
    command: Command, billing: Billing
) -> None:
    paid, other = await billing.order(2_000), await billing.order(3_000)
    payment = await billing.pay(paid)

    listed = await command("order", "list", "--customer", billing.customer_id)
    completed = ("order", "list", "--customer", billing.customer_id, "--status", "COMPLETED")
    as_json = await command(*completed, "--json")
    shown = await command("order", "show", paid)
    document = await command("order", "show", paid, "--json")

    assert [line.split()[:4] for line in listed.stdout.splitlines()[1:]] == [
        [other, "CREATED", "3,000", "KRW"],
        [paid, "COMPLETED", "2,000", "KRW"],
    ]
    assert [each["id"] for each in orjson.loads(as_json.stdout)] == [paid]
    assert f"id            {paid}\n" in shown.stdout
    assert "payable       2,000 KRW\n" in shown.stdout
    assert "gateway.charge" in shown.stdout
    assert payment["id"] in shown.stdout
    assert orjson.loads(document.stdout) == await billing.get(f"/api/v1/orders/{paid}")
