"""`billing status`: is anything wrong now?"""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console

from api.status import SystemStatus
from cli.calling import calling
from cli.options import AsJson, example
from cli.words import duration, say

EVERY_SECONDS = 2.0

app = typer.Typer(help="Say whether anything is wrong now.")


@app.callback(invoke_without_command=True, epilog=example("status --watch"))
def status(
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
) -> None:
    """Parts and versions, task queues, what waits, and whether the money is right.

    Exit code 0 when all is well, 1 when something waits for a person.
    """
    ok = asyncio.run(_status(as_json, watch))
    if not ok:
        raise typer.Exit(1)


async def _status(as_json: bool, watch: bool) -> bool:
    async with calling() as api:
        while True:
            answer = await api.get("/api/v1/status")
            found = answer.read(SystemStatus)
            if watch and not as_json:
                Console().clear()
            if as_json:
                typer.echo(answer.text)
            else:
                _show(found)
            if not watch:
                return found.ok
            await asyncio.sleep(EVERY_SECONDS)


def _show(found: SystemStatus) -> None:
    for line in _lines(found):
        say(line)
    if found.ok:
        say("Nothing waits for a person.", style="bold green")
        return
    say("For a person:", style="bold red")
    for sentence in found.for_a_person:
        say(f"  {sentence}")


def _lines(found: SystemStatus) -> Iterator[str]:
    for part in found.parts:
        yield f"{part.name:<12}{part.wrong or part.version or 'at work'}"
    for queue in found.queues:
        many = "worker" if len(queue.workers) == 1 else "workers"
        waits = f", {queue.waiting:,} wait{_for(queue.oldest_seconds)}" if queue.waiting else ""
        yield f"queue {queue.name}: {len(queue.workers)} {many}{waits}"
    for gateway in found.gateways:
        waits = f", {gateway.waiting:,} wait" if gateway.waiting else ""
        yield f"PG {gateway.name}: breaker {gateway.state}{waits}"
    for pile in found.piles:
        yield f"{pile.count:>8,}  {pile.what}{_for(pile.oldest_seconds)}"
    yield _money(found)


def _for(seconds: float | None) -> str:
    if not seconds:
        return ""
    return f", the oldest for {duration(timedelta(seconds=seconds))}"


def _money(found: SystemStatus) -> str:
    if found.money is None:
        return "money: not looked at yet; every hour a worker does, and `billing verify` does now"
    at = f"{found.money.at:%Y-%m-%d %H:%M} UTC"
    if found.money.violations:
        return f"money: not right, {found.money.violations:,} violations in all, {at}"
    return f"money: right, {at}"
