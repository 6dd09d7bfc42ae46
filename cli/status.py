"""`billing status`: is anything wrong now?"""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Annotated

import typer

from api.documents.status import SystemPile, SystemStatus
from cli.calling import Answer, Api, calling
from cli.options import AsJson, example
from cli.refused import Refused
from cli.watching import watch
from cli.words import duration, say

ANSWER_SECONDS = 8.0
"""The API asks everybody for less than two; it may be busy besides."""

app = typer.Typer(help="Say whether anything is wrong now.")


@app.callback(invoke_without_command=True, epilog=example("status --watch"))
def status(
    as_json: AsJson = False,
    on: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
) -> None:
    """Parts and versions, task queues, what waits, and whether the money is right.

    Exit code 0 when all is well, 1 when something waits for a person.
    """
    ok = asyncio.run(_status(as_json, on))
    if not ok:
        raise typer.Exit(1)


async def _status(as_json: bool, on: bool) -> bool:
    async with calling() as api:
        look, tell = partial(_look, api), partial(_tell, as_json)
        answer = await look()
        tell(answer)
        if on:
            await watch(look, tell)
        return answer.read(SystemStatus).ok


async def _look(api: Api) -> Answer:
    """In time: an API that takes connections and says nothing is what is wrong."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await api.get("/api/v1/status")
    except TimeoutError as error:
        raise Refused(
            f"The API gave no answer within {ANSWER_SECONDS:g} s: see its log, and start it again. "
            "On a machine of the installation itself `billing --direct` works without one."
        ) from error


def _tell(as_json: bool, answer: Answer) -> None:
    if as_json:
        typer.echo(answer.text)
        return
    found = answer.read(SystemStatus)
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
        yield f"{pile.count:>8,}  {pile.what}{_for(pile.oldest_seconds)}{_where(pile)}"
    yield _money(found)


def _where(pile: SystemPile) -> str:
    """What is for a person is named again below, with its command."""
    return f": {pile.look}" if pile.count and not pile.for_a_person else ""


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
