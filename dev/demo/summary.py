"""The table at the end of the demo."""

from rich.table import Table

from dev.demo.books import ledger_balances
from dev.demo.payments import krw
from dev.demo.stage import Stage
from domain.access import SYSTEM
from store import payment


async def summary(stage: Stage) -> Table:
    """What the demo leaves behind: payments, balances, events, and where to see more."""
    async with stage.desk.database.read(SYSTEM) as tx:
        by_status = sorted((await payment.count_by_status(tx)).items())
    balances = await ledger_balances(stage)
    table = Table(
        show_header=False,
        caption="What we owe or have earned is positive, what others hold for us is negative.",
        caption_justify="left",
    )
    table.add_row("Payments", ", ".join(f"{count} {status}" for status, count in by_status))
    table.add_section()
    for account, amount in sorted(balances.items()):
        table.add_row(account, krw(amount))
    table.add_row("sum of the ledger", f"{krw(sum(balances.values()))}, as it must be")
    table.add_row("gateway's book", "agrees with the ledger")
    table.add_section()
    table.add_row("Events on Kafka", f"{stage.events.total()} on {len(stage.events)} topics")
    table.add_section()
    table.add_row(
        "Every payment's history",
        "in the Temporal UI, while the system runs:\n"
        "`.venv/bin/billing demo --keep`, or `make dev`",
    )
    return table
