"""`billing customer`: who is billed, and how."""

import orjson

from cli.calling import Missing
from tests.cli.conftest import Command
from tests.support.billing import Billing


async def test_a_customer_is_listed_and_shown(command: Command, billing: Billing) -> None:
    path = f"/api/v1/customers/{billing.customer_id}"

    listed = await command("customer", "list", "--json")
    shown = await command("customer", "show", billing.customer_id)
    document = await command("customer", "show", billing.customer_id, "--json")
    unknown = await command("customer", "show", "no/body")

    assert billing.customer_id in [each["id"] for each in orjson.loads(listed.stdout)]
    assert f"id         {billing.customer_id}\n" in shown.stdout
    assert "timeZone   UTC\n" in shown.stdout
    assert orjson.loads(document.stdout) == await billing.get(path)
    assert isinstance(unknown.exception, Missing)
