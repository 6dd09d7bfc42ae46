"""`billing gateway`: how the payment gateways do, what waits for them, and asking them earlier."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from api.gateway import Gateway, GatewayQueue, Gateways, GatewayWorker, Hurried
from cli.calling import Answer, calling
from cli.options import example
from cli.words import clock, say
from domain.gateway_health import BreakerState

app = typer.Typer(help="Payment gateways.", no_args_is_help=True)

PATH = "/api/v1/gateways"
_COLUMNS = (
    "gateway",
    "state",
    "since",
    "tried again",
    "calls",
    "failed",
    "p95",
    "waiting",
    "oldest",
)


@app.command("list", epilog=example("gateway list"))
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: the API's document.")] = (
        False
    ),
) -> None:
    """Show how each gateway does and what waits for it."""
    found = asyncio.run(_list())
    if as_json:
        typer.echo(found.text)
        return
    table = Table(*_COLUMNS, box=None)
    for each in found.read(Gateways).gateways:
        table.add_row(*_row(each))
        for worker in each.workers:
            table.add_row(*_worker_row(worker), style="dim")
    Console(soft_wrap=True).print(table)
    for each in found.read(Gateways).gateways:
        if each.state is BreakerState.UNKNOWN:
            say(f"No worker says how {each.name} does: see that one runs, and Valkey.")


@app.command(epilog=example("gateway hurry simulator"))
def hurry(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As listed, e.g. simulator.")],
) -> None:
    """Have everything that waits for a gateway ask it now. Moves no money; harmless to repeat."""
    told = asyncio.run(_hurry(name))
    say(f"They ask {told.name} now, {told.per_second} a second at most: {waiting(told.waiting)}.")


def standing(gateway: Gateway) -> Iterator[str]:
    """How a gateway does, in sentences, and what waits for it."""
    match gateway.state:
        case BreakerState.UNKNOWN:
            yield f"gateway {gateway.name}: no worker says how it does"
        case BreakerState.CLOSED if gateway.failing_since:
            yield f"gateway {gateway.name}: calls fail since {clock(gateway.failing_since)}"
        case BreakerState.CLOSED:
            yield f"gateway {gateway.name}: answers"
        case _:
            since = f" since {clock(gateway.since)}" if gateway.since else ""
            yield f"gateway {gateway.name}: its breaker is {gateway.state}{since}"
    if gateway.retried_at:
        yield f"  tried again at {clock(gateway.retried_at)}"
    yield f"  waiting for it: {waiting(gateway.waiting)}"


def waiting(queue: GatewayQueue) -> str:
    """How many, and since when."""
    numbers = (
        (queue.payments, "payments"),
        (queue.refunds, "refunds"),
        (queue.watches, "watched for a late capture"),
    )
    told = ", ".join(f"{number} {what}" for number, what in numbers if number) or "nothing"
    return told if queue.since is None else f"{told}, since {clock(queue.since)}"


def _row(each: Gateway) -> tuple[str, ...]:
    queue = each.waiting
    calls = [worker.calls for worker in each.workers]
    slowest = max((worker.p95_seconds or 0 for worker in each.workers), default=None)
    return (
        each.name,
        each.state,
        _at(each.since or each.failing_since),
        _at(each.retried_at),
        str(sum(sum(by_status.values()) for by_status in calls)),
        str(sum(map(_failed, calls))),
        _seconds(slowest),
        f"{queue.payments} payments, {queue.refunds} refunds, {queue.watches} watched",
        _at(queue.since),
    )


def _worker_row(told: GatewayWorker) -> tuple[str, ...]:
    return (
        f"  {told.worker}",
        told.state,
        _at(told.since or told.failing_since),
        _at(told.retried_at),
        str(sum(told.calls.values())),
        str(_failed(told.calls)),
        _seconds(told.p95_seconds),
        f"{told.under_way} calls under way",
    )


def _failed(calls: dict[str, int]) -> int:
    return calls.get("UNKNOWN", 0) + calls.get("NOT_SENT", 0)


def _at(moment: datetime | None) -> str:
    return "" if moment is None else clock(moment)


def _seconds(length: float | None) -> str:
    return "" if length is None else f"{length:.2f} s"


async def _list() -> Answer:
    async with calling() as api:
        return await api.get(PATH)


async def _hurry(name: str) -> Hurried:
    async with calling() as api:
        return (await api.post(f"{PATH}/{quote(name, safe='')}/hurry")).read(Hurried)
