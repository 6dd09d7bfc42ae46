"""`python -m load.usage`: how many usage events a second are taken, durably.

Starts a durable stack of its own, an API and a worker as `make dev` does, and measures over HTTP on
127.0.0.1: one event per request, then 1,000 per request. Below HTTP, from this
process: a transaction for each event against group commit. At the end one invoice claims them all.
Takes about a minute.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import orjson
import uvloop
from rich.console import Console
from rich.table import Table

from cli.dev import report
from dev import process, services
from dev.services import prepare
from dev.stack import SimulatorOptions, durable_stack, temporary_directory
from domain.access import SYSTEM
from domain.event import TOPICS
from domain.usage import LATE, UsageEvent
from runtime.settings import Settings
from service.group_commit import GroupCommit
from store import database as database_module
from store import usage
from store.database import Database

IN_FLIGHT = 16
WARM_UP = 1_000
SINGLE = 10_000
BATCHES = 100
BATCH = 1_000
BELOW = 10_000
CUSTOMER = "acme-corp"

console = Console()
Call = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Connection:
    """HTTP/1.1, as little of it as measuring needs: a full client would be what is measured."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, body: bytes) -> bytes:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        answer = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        received = await self.reader.readexactly(length)
        if not answer.startswith(b"http/1.1 202"):
            raise RuntimeError(received.decode())
        return received


def main() -> None:
    """Measure and print one table."""
    with temporary_directory() as directory:
        port, ui_port = process.free_port(), process.free_port()
        secret = Settings().gateway_webhook_secrets[0]
        simulator = SimulatorOptions("http://127.0.0.1:9/unused", secret)
        with durable_stack(directory, TOPICS, simulator, ui_port=ui_port, progress=report) as stack:
            prepare(stack, report)
            environment = services.environment(stack)
            ours = [
                services.start_api(stack, port, environment),
                services.start_worker(stack, "worker", environment),
            ]
            try:
                process.wait_until_ready(ours)
                os.environ.update(stack.endpoints.environment())
                uvloop.run(_measure(port))
            finally:
                process.stop(ours)


async def _measure(port: int) -> None:
    table = Table("what", "events/s", "p50", "p95")
    for in_flight, count in ((IN_FLIGHT, WARM_UP), (1, WARM_UP), (IN_FLIGHT, SINGLE)):
        await _singles(table, port, in_flight, count)
    for in_flight in (1, 4):
        await _batches(table, port, in_flight)
    pool = database_module.connect(Settings().database_url, IN_FLIGHT)
    try:
        await _below_http(table, pool)
        await _claim(table, pool)
    finally:
        await pool.dispose()
    console.print(table)


async def _singles(table: Table, port: int, in_flight: int, count: int) -> None:
    connections = [await Connection.open(port) for _ in range(in_flight)]

    async def single(worker: int) -> None:
        await connections[worker].post("/api/v1/usage", orjson.dumps(_document()))

    measured = await _run(single, count, in_flight)
    _row(table, f"HTTP, an event a request, {in_flight} in flight", 1, measured)


async def _batches(table: Table, port: int, in_flight: int) -> None:
    connections = [await Connection.open(port) for _ in range(in_flight)]

    async def batch(worker: int) -> None:
        body = orjson.dumps({"events": [_document() for _ in range(BATCH)]})
        answer = await connections[worker].post("/api/v1/usage/batch", body)
        if answer.count(b"ACCEPTED") != BATCH:
            raise RuntimeError("not every event was accepted")

    measured = await _run(batch, BATCHES, in_flight)
    _row(table, f"HTTP, {BATCH:,} events a request, {in_flight} in flight", BATCH, measured)


async def _below_http(table: Table, pool: Database) -> None:
    async def alone(worker: int) -> None:
        async with pool.begin(SYSTEM) as tx:
            await usage.ingest(tx, [_event()])

    group_commit = GroupCommit(pool, LATE)

    async def together(worker: int) -> None:
        await group_commit.ingest(_event())

    await _run(alone, WARM_UP, IN_FLIGHT)
    for name, call in (("a transaction each", alone), ("group commit", together)):
        measured = await _run(call, BELOW, IN_FLIGHT)
        _row(table, f"no HTTP, {name}, {IN_FLIGHT} in flight", 1, measured)


async def _claim(table: Table, pool: Database) -> None:
    began = time.perf_counter()
    async with pool.begin(SYSTEM) as tx:
        before = datetime.now(UTC) + timedelta(days=1)
        found = await usage.claim(tx, str(uuid4()), CUSTOMER, before, "Asia/Seoul")
    seconds = time.perf_counter() - began
    events = sum(aggregate.events for aggregate in found)
    _row(table, f"one invoice claims {events:,} events", events, (seconds, [seconds]))


async def _run(call: Call, count: int, in_flight: int) -> tuple[float, list[float]]:
    """Seconds in all, and of each call."""
    times: list[float] = []
    left = iter(range(count))

    async def one_after_the_other(worker: int) -> None:
        for _ in left:
            began = time.perf_counter()
            await call(worker)
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other(worker) for worker in range(in_flight)))
    return time.perf_counter() - began, times


def _row(table: Table, name: str, events: int, measured: tuple[float, list[float]]) -> None:
    seconds, times = measured
    ordered = sorted(times)
    p95 = ordered[int(len(ordered) * 0.95)] * 1000
    rate = f"{events * len(times) / seconds:,.0f}"
    table.add_row(name, rate, f"{statistics.median(times) * 1000:.1f} ms", f"{p95:.1f} ms")


def _document() -> dict[str, object]:
    return {
        "eventId": str(uuid4()),
        "customerId": CUSTOMER,
        "resourceType": "API_CALL",
        "quantity": 1.5,
        "occurredAt": datetime.now(UTC).isoformat(),
    }


def _event() -> UsageEvent:
    return UsageEvent(CUSTOMER, str(uuid4()), "API_CALL", Decimal("1.5"), datetime.now(UTC))


if __name__ == "__main__":
    main()
