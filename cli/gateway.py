"""`billing gateway`: how the payment gateways do, what waits for them, and asking them earlier."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

import orjson
import typer
from rich.console import Console
from rich.table import Table

from api.documents.gateway import Gateway, GatewayQueue, GatewayWorker, Hurried
from cli.calling import Api, calling
from cli.listing import Found, Item, Listing, answers, listed
from cli.options import example
from cli.words import clock, duration, say
from domain.gateway_health import BreakerState

app = typer.Typer(help="Payment gateways.", no_args_is_help=True)

PATH = "/api/v1/gateways"
WIDTH = 120
"""Of the table at least: a narrower terminal breaks lines, which is better than to break words."""


@app.command("list", epilog=example("gateway list --watch"))
@listed
def list_() -> Listing[Gateway]:
    """List how each gateway does and what waits for it."""
    return Listing(Gateway, answers(_list), {}, "No gateways.", told=_tell)


def _tell(gateways: Sequence[Gateway]) -> None:
    _print(gateways, datetime.now(UTC))
    for each in gateways:
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
        ("payments", queue.payments),
        ("refunds", queue.refunds),
        ("watched for a late capture", queue.watches),
    )
    told = ", ".join(f"{what}: {number}" for what, number in numbers if number) or "nothing"
    return told if queue.since is None else f"{told}, since {clock(queue.since)}"


def _print(gateways: Sequence[Gateway], now: datetime) -> None:
    """A line for each gateway, and below it one for each worker."""
    table = Table(box=None, pad_edge=False)
    for name in ("gateway", "state", "for", "next try", "calls", "failed", "p95"):
        table.add_column(name, no_wrap=True)
    for name in ("payments", "refunds", "watched", "oldest"):
        table.add_column(name, no_wrap=True, justify="right")
    for each in gateways:
        table.add_row(*_row(each, now))
        for worker in each.workers:
            table.add_row(*_worker_row(worker, now), style="dim")
    Console(width=max(Console().width, WIDTH)).print(table)


def _row(each: Gateway, now: datetime) -> tuple[str, ...]:
    queue, calls = each.waiting, [worker.calls for worker in each.workers]
    slowest = [worker.p95_seconds for worker in each.workers if worker.p95_seconds is not None]
    return (
        each.name,
        each.state,
        _ago(each.since or each.failing_since, now),
        _ahead(each.retried_at, now),
        str(sum(sum(by_status.values()) for by_status in calls)),
        str(sum(map(_failed, calls))),
        _seconds(max(slowest, default=None)),
        str(queue.payments),
        str(queue.refunds),
        str(queue.watches),
        _ago(queue.since, now),
    )


def _worker_row(told: GatewayWorker, now: datetime) -> tuple[str, ...]:
    return (
        f"  {told.worker}",
        told.state,
        _ago(told.since or told.failing_since, now),
        _ahead(told.retried_at, now),
        str(sum(told.calls.values())),
        str(_failed(told.calls)),
        _seconds(told.p95_seconds),
    )


def _failed(calls: dict[str, int]) -> int:
    return calls.get("UNKNOWN", 0) + calls.get("NOT_SENT", 0)


def _ago(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else duration(now - moment)


def _ahead(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return ""
    return "now" if moment <= now else f"in {duration(moment - now)}"


def _seconds(length: float | None) -> str:
    return "" if length is None else f"{length:.2f} s"


async def _list(api: Api, limit: int) -> Found:
    found: list[Item] = orjson.loads((await api.get(PATH)).text)["gateways"]
    return Found(found[:limit], more=len(found) > limit)


async def _hurry(name: str) -> Hurried:
    async with calling() as api:
        return (await api.post(f"{PATH}/{quote(name, safe='')}/hurry")).read(Hurried)
