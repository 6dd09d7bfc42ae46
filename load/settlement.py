"""`python -m load.settlement`: how many customers a second a run settles, ten of them poisoned.

Starts a durable stack of its own and a worker as `make dev` does, gives 1,000 customers a month of
usage, and runs the settlement of that month once: draft, check, issue, and the first charge at the
gateway simulator on 127.0.0.1. Takes about two minutes.
"""

import asyncio
import os
import time
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import uvloop
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from cli.dev import report as tell
from dev import process, services
from dev.seed import STANDARD, STANDARD_SINCE, TEST_CARD
from dev.stack import SimulatorOptions, durable_stack, temporary_directory
from domain.access import SYSTEM
from domain.event import TOPICS
from domain.period import Period
from domain.run import Progress
from domain.usage import UsageEvent
from runtime.desk import connected
from runtime.settings import Settings
from service.settlement import Report, report, start_run
from store import customer, usage
from store.database import Database

CUSTOMERS = 1_000
POISONED = 10
EVENTS_EACH = 20
QUANTITY = 1_000
PERIOD = "2026-05"
BOUND_SECONDS = 600

console = Console()
NAMES = [f"load-{number:04}" for number in range(CUSTOMERS)]
BAD = frozenset(NAMES[:: CUSTOMERS // POISONED])


def main() -> None:
    """Measure and print one table."""
    with temporary_directory() as directory:
        simulator = SimulatorOptions(
            "http://127.0.0.1:9/unused", Settings().gateway_webhook_secrets[0]
        )
        with durable_stack(
            directory, TOPICS, simulator, ui_port=process.free_port(), progress=tell
        ) as stack:
            services.prepare(stack, tell)
            ours = [services.start_worker(stack, "worker", services.environment(stack))]
            try:
                process.wait_until_ready(ours)
                os.environ.update(stack.endpoints.environment())
                uvloop.run(_measure())
            finally:
                process.stop(ours)


async def _measure() -> None:
    desk = await connected(Settings(), pool_size=5, wait_seconds=30)
    pool = desk.database
    try:
        await _prepare(pool)
        began = time.perf_counter()
        async with asyncio.timeout(BOUND_SECONDS):
            handle = await start_run(desk, PERIOD)
            ended = await handle.result()
            settled_after = time.perf_counter() - began
            await _until_paid(pool)
        paid_after = time.perf_counter() - began
        _print(await report(desk, PERIOD), ended, settled_after, paid_after)
    finally:
        await pool.dispose()


async def _prepare(pool: Database) -> None:
    begins = Period.parse(PERIOD).starts_at("UTC")
    for name in NAMES:
        resource = "POISON" if name in BAD else "API_CALL"
        events = [
            UsageEvent(
                name, f"{number}", resource, Decimal(QUANTITY), begins + timedelta(hours=number)
            )
            for number in range(EVENTS_EACH)
        ]
        async with pool.begin(SYSTEM) as tx:
            await customer.put(tx, name)
            await customer.assign_plan(tx, name, STANDARD.code, STANDARD_SINCE)
            await customer.add_payment_method(
                tx, str(uuid4()), name, "simulator", f"bk_{TEST_CARD}", TEST_CARD[-4:], True
            )
            await usage.ingest(tx, events)


async def _until_paid(pool: Database) -> None:
    query = text("SELECT count(*) FROM invoices WHERE status = 'PAID'")
    while True:
        async with pool.read(SYSTEM) as tx:
            if (await tx.execute(query)).scalar_one() >= CUSTOMERS - POISONED:
                return
        await asyncio.sleep(0.1)


def _print(found: Report, ended: Progress, settled_after: float, paid_after: float) -> None:
    expected = {"SETTLED": CUSTOMERS - POISONED, "FAILED": POISONED}
    counts = {name: count for name, count in found.counts.items() if name in expected}
    billed = (EVENTS_EACH * QUANTITY - 10_000) * (CUSTOMERS - POISONED)
    if counts != expected or found.totals != {"KRW": billed}:
        raise RuntimeError(f"wrong: {found.counts}, {found.totals} instead of {billed}")
    table = Table("what", "figure")
    table.add_row("customers", f"{ended.finished}: {dict(found.counts)}")
    table.add_row("the run", f"{settled_after:.1f} s, {ended.finished / settled_after:.1f}/s")
    table.add_row("until all are paid", f"{paid_after:.1f} s, {CUSTOMERS / paid_after:.1f}/s")
    table.add_row("billed", f"{billed:,} KRW, to the unit")
    console.print(table)


if __name__ == "__main__":
    main()
