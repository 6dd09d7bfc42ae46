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


async def test_what_moved_in_a_wallet_is_listed_newest_first(
    command: Command, billing: Billing
) -> None:
    await billing.top_up(5_000)
    paid = await billing.pay(await billing.order(3_000), "WALLET")

    told = await command("wallet", "transactions", billing.customer_id, "--limit", "2")

    _, earned, captured = told.stdout.splitlines()
    assert "earn" in earned
    assert "-3,000 KRW" in captured
    assert captured.endswith(f"payment/{paid['id']}/capture")
    assert told.stderr == "There are more than these 2: see --limit.\n"
