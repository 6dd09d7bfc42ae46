"""`billing wallet`: what customers have paid in before, and not spent."""

from tests.cli.conftest import Command
from tests.support.billing import Billing


async def test_a_wallet_is_listed_and_shown(command: Command, billing: Billing) -> None:
    await billing.top_up(1_234_567)

    listed = await command("wallet", "list", "--customer", billing.customer_id)
    shown = await command("wallet", "show", billing.customer_id)

    [row] = listed.stdout.splitlines()[1:]
    assert row.split()[:6] == [billing.customer_id, "KRW", "1,234,567", "KRW", "0", "KRW"]
    assert f"customerId  {billing.customer_id}\nbalances\n" in shown.stdout
    assert shown.stdout.splitlines()[-1].split() == ["KRW", "1,234,567", "KRW", "0", "KRW"]
