"""A month of many customers, charged and posted, beside workflows of its shapes that do nothing."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import orjson
from sqlalchemy import text
from temporalio.client import Client

from dev.seed import STANDARD, STANDARD_SINCE, TEST_CARD
from domain.access import SYSTEM, at_the_machine
from domain.period import Period
from domain.usage import UsageEvent
from load import nothing, statements
from load.connection import Connection
from load.figures import Figure, Group
from load.meter import Call, Meter, Series, Subject, rss, together
from load.size import Size
from load.system import System
from runtime import temporal
from runtime.desk import connected
from runtime.settings import Settings
from runtime.workers import running
from service.desk import Desk
from service.settlement import start_run
from store import customer, usage
from store.database import Database
from store.identifier import new_id
from store.key_ring import NO_KEYS

MONTH = "settlement of a customer, charged and posted"
FLOOR = "three do-nothing workflows of the same shapes"
EVENTS_EACH = 20
QUANTITY = 1_000
COUNTED = 10
_PAID = text("SELECT count(*) FROM invoices WHERE status = 'PAID' AND period = :period")


async def measure(system: System, meter: Meter, size: Size) -> Group:
    """CPU and statements of a customer whose month is settled by a run, and charged."""
    months = _months(size.rounds + 1)
    names = [f"month-{number:05}" for number in range(size.customers)]
    client = await temporal.connect_when_ready(Settings())
    async with _desk() as desk, running(nothing.worker(client)):
        await _with_usage(desk.database, names, months)
        left = iter(months)

        async def settle(caller: int) -> None:
            await _settle(desk, str(next(left)), len(names))

        async def floor(caller: int) -> None:
            await together(_nothing(client), len(names), Settings().settlement_concurrency)

        found = await meter.compare(
            [
                Subject(MONTH, settle, 1, in_flight=1, of_each=len(names)),
                Subject(FLOOR, floor, 1, in_flight=1, of_each=len(names)),
            ],
            size.rounds,
        )
        by_word = await _statements(system, desk.database, months[-1])
    group = Group("Settlement")
    group.take(*found.values())
    group.ratio(
        "settlement of a customer / three do-nothing workflows, CPU",
        found[MONTH].cpu_totals,
        found[FLOOR].cpu_totals,
        1.6,
        at_most=True,
    )
    name = "statements of a settlement"
    group.figures.append(Figure(name, sum(by_word.values()), 25, at_most=True))
    group.notes.append(statements.in_words(by_word))
    return group


async def measure_long(system: System, meter: Meter, size: Size) -> Group:
    """A thousand customers, then ten thousand: what one costs, and how large the worker gets."""
    group = Group("Long settlement runs")
    pid = next(each.process.pid for each in system.servers if each.name == "Worker")
    memory, cpu = [], []
    async with _desk() as desk:
        for count, month in zip(LONG, _months(len(LONG)), strict=True):
            names = [f"long-{count}-{number:05}" for number in range(count)]
            await _with_usage(desk.database, names, [month])
            series = Series(f"settlement of each of {count:,} customers")
            await meter.turn(
                Subject(series.name, _whole(desk, month, count), 1, 0, 1, count), series
            )
            group.take(series)
            memory.append(rss(pid))
            cpu.append(statistics.median(series.cpu_totals))
            hours = 1e6 * cpu[-1] / 1000 / 3600
            group.notes.append(
                f"after {count:,} customers the worker has {memory[-1]:.0f} MB; at this rate 10^6 "
                f"customers take {hours:.0f} core-hours: {hours / 4:.0f} cores for 4 hours"
            )
    fewer, more = (f"{count:,}" for count in LONG)
    for what, values in (("CPU of a customer", cpu), ("memory of the worker", memory)):
        name = f"{what}, {more} / {fewer} customers"
        group.figures.append(Figure(name, values[1] / values[0], 1.2, at_most=True))
    return group


LONG = (1_000, 10_000)


def _whole(desk: Desk, month: Period, count: int) -> Call:
    async def settle(caller: int) -> None:
        await _settle(desk, str(month), count)

    return settle


def _months(count: int) -> list[Period]:
    """The last that are over, the earliest first."""
    months = [Period.containing(datetime.now(UTC), "UTC")]
    for _ in range(count):
        months.append(months[-1].previous())
    return months[:0:-1]


@asynccontextmanager
async def _desk() -> AsyncIterator[Desk]:
    desk = await connected(Settings(), pool_size=5, wait_seconds=30)
    try:
        yield desk
    finally:
        await desk.database.dispose()


async def _with_usage(pool: Database, names: Sequence[str], months: Sequence[Period]) -> None:
    for name in names:
        events = [
            UsageEvent(
                name,
                f"{month}-{number}",
                "API_CALL",
                Decimal(QUANTITY),
                month.starts_at("UTC") + timedelta(hours=number),
            )
            for month in months
            for number in range(EVENTS_EACH)
        ]
        async with pool.begin(SYSTEM) as tx:
            await customer.put(tx, name)
            await customer.assign_plan(tx, name, STANDARD.code, STANDARD_SINCE)
            await customer.add_payment_method(
                tx, new_id(), name, "simulator", f"bk_{TEST_CARD}", TEST_CARD[-4:], True, NO_KEYS
            )
            await usage.ingest(tx, events)


async def _settle(desk: Desk, month: str, customers: int) -> None:
    """A run of the month, until every invoice is paid."""
    await (await start_run(desk, at_the_machine("load"), month)).result()
    async with desk.database.statements(SYSTEM) as tx:
        while True:
            if await tx.scalar(_PAID, {"period": month}) >= customers:
                return
            await asyncio.sleep(0.05)


def _nothing(client: Client) -> Call:
    async def one(caller: int) -> None:
        month = await client.execute_workflow(
            nothing.NothingMonth.run, id=f"month/{uuid4()}", task_queue=nothing.QUEUE
        )
        await client.get_workflow_handle(month).result()

    return one


async def _statements(system: System, pool: Database, month: Period) -> dict[str, float]:
    """Of one that is settled alone, over HTTP."""
    names = [f"alone-{number:02}" for number in range(COUNTED + 1)]
    await _with_usage(pool, names, [month])
    connection = Connection(system.api_port)

    async def settle(caller: int) -> None:
        await _settle_over_http(connection, names.pop(), month)

    return await statements.of_each(system, settle, COUNTED)


async def _settle_over_http(connection: Connection, name: str, month: Period) -> str:
    """The id of the invoice, which is paid."""
    path = f"/api/v1/settlement/run?customerId={name}&period={month}"
    invoice = orjson.loads(await connection.send("POST", path, expect=201))["invoice"]
    if invoice["status"] != "PAID":
        raise RuntimeError(f"{path}: {invoice['status']}")
    return str(invoice["id"])


async def invoice_of_one(system: System) -> tuple[str, str]:
    """A paid invoice, and its customer."""
    name, (month,) = "one", _months(1)
    async with _desk() as desk:
        await _with_usage(desk.database, [name], [month])
    return await _settle_over_http(Connection(system.api_port), name, month), name
