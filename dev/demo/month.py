"""Steps: a month of usage becomes invoices; some need a person, some a second try."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dev.demo import books
from dev.demo.payments import DECLINED_CARD, GOOD_CARD, krw
from dev.demo.stage import Stage
from dev.demo.verdict import Unexpected, expect
from domain.access import SYSTEM, at_the_machine
from domain.dunning import DunningPolicy
from domain.invoice import CLOSED, InvoiceStatus
from domain.period import Period
from domain.run import Progress
from domain.settlement import HANDED_OVER
from service.settlement import report, start_run
from store import invoice

LOST_CARD = "4000000000009987"
PLAN = "demo-month"
PLAN_PATH = f"/api/v1/pricing-plans/{PLAN}"
SINCE = "2020-01-01T00:00:00Z"
CUSTOMERS = 200
EVENTS_EACH = 100
AT_ONCE = 10
SETTLED_AT_ONCE = 5
"""Two cores are busy with that. With more each customer takes longer, and on a slow machine a
workflow task then takes longer than it may."""
TOLD_EVERY = 20
SENT_TWICE = 20
"""Every 20th event is sent twice: 5 %."""
BATCH = 1_000
FREE = 1_000

NAMES = tuple(f"tenant-{number:03}" for number in range(CUSTOMERS))
POISONED, LARGE, WITHOUT_MONEY, LOST = NAMES[50], NAMES[100], NAMES[150], NAMES[151]
LARGE_QUANTITY = 200_000

DECLINED_FIRST = 2
ENDED = CLOSED | {InvoiceStatus.UNCOLLECTIBLE}

LADDER = DunningPolicy(tuple(timedelta(seconds=days) for days in (1, 3, 5, 7)))
"""A day of the ladder is a second here."""


async def report_usage(stage: Stage) -> None:
    """Customers, a price list, and their usage over HTTP; some of it twice."""
    await stage.shop.put(PLAN_PATH, _prices("API_CALL"))
    for at in range(0, CUSTOMERS, AT_ONCE):
        await asyncio.gather(*(_customer(stage, name) for name in NAMES[at : at + AT_ONCE]))
    month = _month()
    sent = list(_events(month))
    batches = [sent[at : at + BATCH] for at in range(0, len(sent), BATCH)]
    outcomes = [outcome for batch in batches for outcome in await _send(stage, batch)]
    once = CUSTOMERS * EVENTS_EACH
    expect("events counted", outcomes.count("ACCEPTED"), once)
    expect("events known already", outcomes.count("DUPLICATE"), len(sent) - once)
    stage.tell(f"{CUSTOMERS} customers used something {once:,} times in {month}.")
    stage.tell(f"{len(sent):,} events came, {len(sent) - once:,} of them twice; each counts once.")


async def settle(stage: Stage) -> None:
    """The run of the month: nobody waits for those who fail or need a person."""
    month = str(_month())
    terms = replace(stage.desk.terms, concurrency=SETTLED_AT_ONCE, dunning=LADDER)
    await _give_money_later(stage)
    handle = await start_run(replace(stage.desk, terms=terms), at_the_machine("demo"), month)
    stage.tell("In this step a day of the ladder of retries is a second: 1, 3, 5 and 7 seconds.")
    ended = await _follow(stage, asyncio.create_task(handle.result()))
    found = await report(stage.desk, month)
    counts = {name: count for name, count in found.counts.items() if name != "SKIPPED"}
    expected = {"SETTLED": CUSTOMERS - 2, "AWAITING_APPROVAL": 1, "FAILED": 1}
    expect("settlements by status", counts, expected)
    stage.tell(f"{ended.finished} customers in {found.seconds or 0:.1f} s: {_words(counts)}.")


async def climb_the_ladder(stage: Stage) -> None:
    """A card without money is charged again, until there is some."""
    paid = await _ends_as(stage, WITHOUT_MONEY, InvoiceStatus.PAID)
    expect("payments of the invoice", len(paid["paymentIds"]), DECLINED_FIRST + 1)
    stage.tell(f"{WITHOUT_MONEY}: two charges declined, the second retry took the money. PAID.")


async def approve(stage: Stage) -> None:
    """A total above the threshold waits for a person."""
    waiting = await of(stage, LARGE)
    stage.tell(f"{LARGE}: {waiting['reason']}.")
    path = f"/api/v1/invoices/{waiting['id']}/approve"
    answer = await stage.shop.post(path, {"reason": "as agreed with the customer"})
    expect("the status of the approval", answer.status_code, 200)
    paid = await _ends_as(stage, LARGE, InvoiceStatus.PAID)
    stage.tell(f"Approved by a person: {krw(paid['total'])} are PAID.")


async def replay(stage: Stage) -> None:
    """What had no price fails, is mended and settled again."""
    month = str(_month())
    told = await command(stage, "settlement", "failed", month)
    expect("that the reason is told", "no price for GPU_HOUR" in told, True)
    proposer = await stage.shop.put_by_two(PLAN_PATH, _prices("API_CALL", "GPU_HOUR"))
    stage.tell(f"{proposer} proposed a price for GPU_HOUR; customers have this list, so nothing")
    stage.tell("happened before somebody else sent the same call.")
    stage.tell("The price list has a price for GPU_HOUR now.")
    await command(stage, "settlement", "replay", month, "--yes")
    await _ends_as(stage, POISONED, InvoiceStatus.PAID)
    await command(stage, "settlement", "replay", month, "--yes")


async def explain(stage: Stage) -> None:
    """Every amount goes back to its events."""
    row = await of(stage, NAMES[0])
    commands = ("invoice", "explain", row["id"]), ("invoice", "verify", row["id"])
    told = await asyncio.gather(*(_said(stage, each) for each in commands))
    for arguments, output in zip(commands, told, strict=True):
        _show(stage, arguments, output)


async def give_up(stage: Stage) -> None:
    """A lost card is never charged again; after the last reminder an operator has it."""
    given_up = await _ends_as(stage, LOST, InvoiceStatus.UNCOLLECTIBLE)
    expect("charges of a lost card", len(given_up["paymentIds"]), 1)
    stage.tell(f"{LOST}: a lost card is charged once and never again; then only reminders.")
    await command(stage, "dead-letter", "list")


async def compare_ledger(stage: Stage) -> None:
    """The same as before the month, once nobody collects any more."""

    async def nothing_is_collected() -> bool:
        path = f"/api/v2/invoices?status={InvoiceStatus.ISSUED}&size=1"
        return not (await stage.shop.get(path))["items"]

    await stage.until("every invoice is paid or given up", nothing_is_collected)
    await books.compare_ledger(stage)


async def _give_money_later(stage: Stage) -> None:
    """The customer without money has some when the card is charged for the third time."""
    reason = "insufficient_funds"
    behave = stage.shop.behave
    await behave(DECLINED_CARD, "decline", declineCode=reason, times=DECLINED_FIRST)
    await behave(DECLINED_CARD, "approve", times=1)


async def _follow(stage: Stage, run: asyncio.Task[Progress]) -> Progress:
    """Tell how far the run is, until it ends."""
    told = 0
    while not (await asyncio.wait([run], timeout=1))[0]:
        found = await report(stage.desk, str(_month()))
        done = sum(count for status, count in found.counts.items() if status in HANDED_OVER)
        if done >= told + TOLD_EVERY:
            stage.tell(f"{done} of {found.customers} customers ...")
            told = done
    return await run


def _month() -> Period:
    """The one before this."""
    return Period.containing(datetime.now(UTC), "UTC").previous()


def _events(month: Period) -> Iterator[dict[str, Any]]:
    """Every 20th comes twice, the second time right after the first."""
    begins = month.starts_at("UTC")
    for place, name in enumerate(NAMES):
        for number in range(EVENTS_EACH):
            event = {
                "eventId": f"{name}-{number}",
                "customerId": name,
                "resourceType": "GPU_HOUR" if name == POISONED else "API_CALL",
                "quantity": LARGE_QUANTITY if name == LARGE else 20 + place % 10,
                "occurredAt": (begins + timedelta(hours=6 * number)).isoformat(),
            }
            yield event
            if number % SENT_TWICE == 0:
                yield event


async def _send(stage: Stage, batch: list[dict[str, Any]]) -> list[str]:
    answer = await stage.shop.post("/api/v1/usage/batch", {"events": batch})
    if answer.status_code >= 400:
        raise Unexpected(f"usage was answered {answer.status_code}: {answer.text[:200]}")
    return [each["status"] for each in answer.json()["outcomes"]]


def _prices(*resources: str) -> dict[str, Any]:
    charges = [
        {"resourceType": name, "model": "PER_UNIT", "unitPrice": "2", "freeUnits": str(FREE)}
        for name in resources
    ]
    return {"currency": "KRW", "effectiveFrom": SINCE, "charges": charges}


async def _customer(stage: Stage, name: str) -> None:
    await stage.shop.put(f"/api/v1/customers/{name}", {"planCode": PLAN, "planFrom": SINCE})
    await _card(stage, name, {WITHOUT_MONEY: DECLINED_CARD, LOST: LOST_CARD}.get(name, GOOD_CARD))


async def _card(stage: Stage, name: str, number: str) -> None:
    body = {"billingKey": f"bk_{number}", "last4": number[-4:]}
    answer = await stage.shop.post(f"/api/v1/customers/{name}/payment-methods", body)
    expect("the status of a new card", answer.status_code, 201)


async def of(stage: Stage, name: str) -> dict[str, Any]:
    """The invoice of a customer's month, as the API shows it."""
    async with stage.desk.database.read(SYSTEM) as tx:
        row = await invoice.of_month(tx, name, str(_month()))
    if row is None:
        raise Unexpected(f"{name} has no invoice")
    found: dict[str, Any] = await stage.shop.get(f"/api/v1/invoices/{row.id}")
    return found


async def _ends_as(stage: Stage, name: str, status: InvoiceStatus) -> dict[str, Any]:
    """The invoice once it is collected or given up, which must be as `status` says."""

    async def ended() -> dict[str, Any] | None:
        found = await of(stage, name)
        return found if found["status"] in ENDED else None

    found = await stage.until(f"the invoice of {name} is {status}", ended) or {}
    expect(f"the invoice of {name}", found["status"], status)
    return found


async def command(stage: Stage, *arguments: str) -> str:
    """Run the command as a person would, and show what it says."""
    output = await _said(stage, arguments)
    _show(stage, arguments, output)
    return output


async def _said(stage: Stage, arguments: Sequence[str]) -> str:
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.main",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(stage.environment),
    )
    output, errors = await running.communicate()
    expect(f"the exit code of {arguments} ({errors.decode().strip()})", running.returncode, 0)
    return output.decode()


def _show(stage: Stage, arguments: Sequence[str], output: str) -> None:
    stage.tell(f"$ billing {' '.join(arguments)}")
    for line in output.splitlines():
        stage.console.print(
            f"      {line}", style="dim", soft_wrap=True, highlight=False, markup=False
        )


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


STEPS = (
    ("A month of usage, some of it sent twice", report_usage),
    ("Settle the month for everybody", settle),
    ("A card without money: the ladder of retries", climb_the_ladder),
    ("A large invoice waits for a person", approve),
    ("What could not be priced: mend it and replay", replay),
    ("Explain an invoice, down to its events", explain),
    ("A lost card: given up, for an operator to see", give_up),
    ("The ledger against the gateway's book, with the month in it", compare_ledger),
)
"""Title and step, in order."""
