"""`billing webhook`: what PGs told unasked."""

from tests.api.test_webhooks import deliver
from tests.cli.conftest import Command
from tests.support.billing import Billing
from tests.support.samples import new_id


async def test_what_a_pg_told_is_listed(command: Command, billing: Billing) -> None:
    event = {"id": f"evt_{new_id()}", "orderId": new_id()}
    assert (await deliver(billing.api, event)).status_code == 204

    listed = await command("webhook", "list", "--gateway", "simulator", "--limit", "10000")
    nobody = await command("webhook", "list", "--gateway", "another")

    [row] = [line for line in listed.stdout.splitlines() if event["id"] in line]
    assert event["orderId"] in row
    assert (nobody.stdout, nobody.stderr) == ("", "No webhooks.\n")
