"""`python -m load.payments`: what a card payment costs, beside a workflow that does nothing.

Starts a durable stack of its own, an API and a worker as `make dev` does, and measures over HTTP on
127.0.0.1: one at a time, then 16 in flight. The do-nothing workflow has the same steps (local,
regular, local) with empty activities, started from one client without HTTP. Takes two minutes.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

import httpx2
import uvloop
from rich.console import Console
from rich.table import Table
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from cli.dev import report
from dev import process, services
from dev.stack import SimulatorOptions, durable_stack, temporary_directory
from domain.event import TOPICS
from runtime import temporal
from runtime.settings import Settings
from runtime.workers import STICKY, running

ALONE = 100
IN_FLIGHT = 16
TOGETHER = 800
WARM_UP = 100

console = Console()
Call = Callable[[], Awaitable[None]]


@activity.defn(name="nothing")
async def nothing() -> None:
    """No work at all."""


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
            settings.gateway_webhook_secret.get_secret_value(),
        )
        with durable_stack(directory, TOPICS, simulator, ui_port=ui_port, progress=report) as stack:
            services.prepare(stack, report)
            environment = services.environment(stack)
            ours = [
                services.start_api(stack, port, environment),
                services.start_worker(stack, "worker", environment),
            ]
            try:
                process.wait_until_ready(ours)
                os.environ.update(stack.endpoints.environment())
                uvloop.run(_measure(f"http://127.0.0.1:{port}"))
            finally:
                process.stop(ours)


async def _measure(url: str) -> None:
    table = Table("what", "alone p50", "alone p95", f"{IN_FLIGHT} in flight")
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
        await _offer(http)
        orders = [await _order(http) for _ in range(WARM_UP + ALONE + TOGETHER)]
        table.add_row("card payment over HTTP", *await _figures(lambda: _pay(http, orders.pop())))
        full = [await _order(http, **EVERYTHING) for _ in range(WARM_UP + ALONE + TOGETHER)]
        table.add_row(
            "coupon, stock, points, wallet, card",
            *await _figures(lambda: _pay(http, full.pop(), method="SPLIT", walletAmount=500)),
        )
        table.add_row("the same request again", *await _figures(await _repeat(http)))
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
        table.add_row("do-nothing workflow", *await _figures(lambda: _nothing(client)))
    console.print(table)


async def _figures(call: Call) -> tuple[str, str, str]:
    """p50 and p95 one at a time, and the throughput at `IN_FLIGHT`."""
    await _together(call, WARM_UP)
    alone = sorted([await _timed(call) for _ in range(ALONE)])
    rate = TOGETHER / await _together(call, TOGETHER)
    p95 = alone[int(len(alone) * 0.95)]
    return f"{statistics.median(alone):.1f} ms", f"{p95:.1f} ms", f"{rate:.0f}/s"


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


async def _nothing(client: Client) -> None:
    await client.execute_workflow(Nothing.run, id=f"nothing/{uuid4()}", task_queue="nothing")


ORDER: dict[str, object] = {
    "currency": "KRW",
    "items": [{"sku": "SKU-1", "quantity": 2, "unitPrice": 1000}],
}

EVERYTHING: dict[str, object] = {"couponCode": "LOAD", "points": 100}

if __name__ == "__main__":
    main()
