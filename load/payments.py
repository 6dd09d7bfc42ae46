"""`python -m load.payments`: what a card payment costs, beside its floors in the same run.

Starts a durable stack of its own, an API and a worker as `make dev` does, and measures over HTTP on
127.0.0.1: one at a time, then 16 in flight. Two floors: the same over HTTP with nothing of ours
(`load/floor.py`), and a workflow of the same steps that does nothing, started from one client
without HTTP. CPU is what all processes used for one operation at 16 in flight. Takes three minutes.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx2
import uvloop
from rich.console import Console
from rich.table import Table
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from cli.dev import report
from dev import process, services
from dev.stack import SimulatorOptions, Stack, durable_stack, temporary_directory
from domain.event import TOPICS
from load.floor import READY, nothing
from runtime import temporal
from runtime.settings import Settings
from runtime.workers import STICKY, running

ALONE = 100
IN_FLIGHT = 16
TOGETHER = 800
WARM_UP = 100

console = Console()
Call = Callable[[], Awaitable[None]]


@workflow.defn(name="Nothing")
class Nothing:
    """The step shape of a card payment: open (local), charge (regular), complete (local)."""

    @workflow.run
    async def run(self) -> None:
        bound = timedelta(seconds=10)
        await workflow.execute_local_activity(nothing, start_to_close_timeout=bound)
        await workflow.execute_activity(nothing, start_to_close_timeout=bound)
        await workflow.execute_local_activity(nothing, start_to_close_timeout=bound)


def main() -> None:
    """Measure and print one table."""
    with temporary_directory() as directory:
        port, ui_port = process.free_port(), process.free_port()
        settings = Settings()
        simulator = SimulatorOptions(
            f"http://127.0.0.1:{port}/webhooks/gateway/simulator",
            settings.gateway_webhook_secrets[0],
        )
        with durable_stack(directory, TOPICS, simulator, ui_port=ui_port, progress=report) as stack:
            services.prepare(stack, report)
            environment = services.environment(stack)
            floor_port = process.free_port()
            ours = [
                services.start_api(stack, port, environment),
                services.start_worker(stack, "worker", environment),
                _start_floor(stack, "api", environment, floor_port),
                _start_floor(stack, "worker", environment, floor_port),
            ]
            try:
                process.wait_until_ready(ours)
                os.environ.update(stack.endpoints.environment())
                everybody = [each.process.pid for each in (*stack.servers, *ours)]
                ours_at, floor_at = (f"http://127.0.0.1:{each}" for each in (port, floor_port))
                uvloop.run(_measure(ours_at, floor_at, everybody))
            finally:
                process.stop(ours)


def _start_floor(
    stack: Stack, part: str, environment: Mapping[str, str], port: int
) -> process.Server:
    log = stack.directory / f"floor-{part}.log"

    def ready() -> bool:
        if part == "api":
            return process.http_get(port, "/health/ready")[0] == 200
        return READY in log.read_text(errors="replace")

    return process.start(
        f"Floor {part}",
        [sys.executable, "-m", "load.floor", part],
        log=log,
        ready=ready,
        environment={**environment, "API_PORT": str(port)},
    )


async def _measure(url: str, floor_url: str, everybody: Sequence[int]) -> None:
    meter = Meter(everybody)
    async with (
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
        httpx2.AsyncClient(base_url=floor_url, timeout=30) as floor,
    ):
        await _offer(http)
        orders = [await _order(http) for _ in range(WARM_UP + ALONE + TOGETHER)]
        full = [await _order(http, **EVERYTHING) for _ in range(WARM_UP + ALONE + TOGETHER)]
        payment = await meter.figures(lambda: _pay(http, orders.pop()))
        everything = await meter.figures(
            lambda: _pay(http, full.pop(), method="SPLIT", walletAmount=500)
        )
        repeat = await meter.figures(await _repeat(http))
        over_http = await meter.figures(lambda: _floor(floor))
    client = await temporal.connect_when_ready(Settings())
    worker = Worker(
        client,
        task_queue="nothing",
        workflows=[Nothing],
        activities=[nothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
        sticky_queue_schedule_to_start_timeout=STICKY,
    )
    async with running(worker):
        bare = await meter.figures(lambda: _nothing(client))
    table = Table("what", "alone p50", "alone p95", f"{IN_FLIGHT} in flight", "CPU")
    table.add_row("card payment over HTTP", *payment.words())
    table.add_row("coupon, stock, points, wallet, card", *everything.words())
    table.add_row("the same request again", *repeat.words())
    table.add_row("the same over HTTP with nothing of ours", *over_http.words())
    table.add_row("do-nothing workflow", *bare.words())
    console.print(table)
    for name, value, goal in (
        ("payments / the same with nothing of ours, rate", payment.rate / over_http.rate, 0.85),
        ("payments / do-nothing workflow, rate", payment.rate / bare.rate, 0.65),
        ("full order / card payment, rate", everything.rate / payment.rate, 0.8),
    ):
        console.print(f"{name}\t{value:.2f}\t{goal}\t{'ok' if value >= goal else 'short'}")


@dataclass(frozen=True)
class Figures:
    """Times in milliseconds one at a time, operations a second and CPU milliseconds of each at
    `IN_FLIGHT`."""

    p50: float
    p95: float
    rate: float
    cpu: float

    def words(self) -> tuple[str, str, str, str]:
        return (
            f"{self.p50:.1f} ms",
            f"{self.p95:.1f} ms",
            f"{self.rate:.0f}/s",
            f"{self.cpu:.1f} ms",
        )


class Meter:
    """Measures a call, and what these processes and this one work meanwhile."""

    def __init__(self, everybody: Sequence[int]) -> None:
        self._everybody = everybody

    async def figures(self, call: Call) -> Figures:
        await _together(call, WARM_UP)
        alone = sorted([await _timed(call) for _ in range(ALONE)])
        worked = self._worked()
        seconds = await _together(call, TOGETHER)
        cpu = (self._worked() - worked) * 1000 / TOGETHER
        p95 = alone[int(len(alone) * 0.95)]
        return Figures(statistics.median(alone), p95, TOGETHER / seconds, cpu)

    def _worked(self) -> float:
        """CPU seconds, with those of PostgreSQL's children, which live as long as it does."""
        pids = [*self._everybody, *map(int, _children(self._everybody)), os.getpid()]
        return sum(map(process.cpu_ticks, pids)) / os.sysconf("SC_CLK_TCK")


def _children(pids: Sequence[int]) -> list[str]:
    listed = [Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in pids]
    return [child for children in listed for child in children]


async def _timed(call: Call) -> float:
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1000


async def _together(call: Call, count: int) -> float:
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with places:
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return time.perf_counter() - began


async def _offer(http: httpx2.AsyncClient) -> None:
    """A coupon, and money and points for every order of the full saga."""
    always = {"validFrom": "2020-01-01T00:00:00Z", "validUntil": "2099-01-01T00:00:00Z"}
    ten_percent = {"kind": "PERCENTAGE", "basisPoints": 1_000, **always}
    (await http.put("/api/v1/coupons/LOAD", json=ten_percent)).raise_for_status()
    money: dict[str, object] = {"amount": 1_000_000, "currency": "KRW"}
    await _post(http, "/api/v1/wallet/top-ups", money, uuid4().hex, 201)
    spent = await _order(http, items=[{"sku": "LOAD", "quantity": 1, "unitPrice": 20_000_000}])
    await _pay(http, spent)  # earns a hundredth of it in points


async def _order(http: httpx2.AsyncClient, **more: object) -> str:
    return (await _post(http, "/api/v1/orders", {**ORDER, **more}, uuid4().hex, 201))["id"]


async def _pay(http: httpx2.AsyncClient, order_id: str, **more: object) -> None:
    body: dict[str, object] = {"orderId": order_id, "method": "CARD", **more}
    paid = await _post(http, "/api/v1/payments", body, uuid4().hex, 201)
    if paid["status"] != "COMPLETED":
        raise RuntimeError(f"a payment ended {paid['status']}")


async def _repeat(http: httpx2.AsyncClient) -> Call:
    body: dict[str, object] = {"orderId": await _order(http), "method": "CARD"}
    key = uuid4().hex
    await _post(http, "/api/v1/payments", body, key, 201)

    async def again() -> None:
        await _post(http, "/api/v1/payments", body, key, 201)

    return again


async def _post(
    http: httpx2.AsyncClient, path: str, body: dict[str, object], key: str, status: int
) -> dict[str, str]:
    answer = await http.post(path, json=body, headers={"Idempotency-Key": key})
    if answer.status_code != status:
        raise RuntimeError(f"{path} answered {answer.status_code}: {answer.text}")
    document: dict[str, str] = answer.json()
    return document


async def _floor(http: httpx2.AsyncClient) -> None:
    (await http.post("/floor", json={"orderId": uuid4().hex})).raise_for_status()


async def _nothing(client: Client) -> None:
    await client.execute_workflow(Nothing.run, id=f"nothing/{uuid4()}", task_queue="nothing")


ORDER: dict[str, object] = {
    "currency": "KRW",
    "items": [{"sku": "SKU-1", "quantity": 2, "unitPrice": 1000}],
}

EVERYTHING: dict[str, object] = {"couponCode": "LOAD", "points": 100}

if __name__ == "__main__":
    main()
