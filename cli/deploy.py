"""`billing deploy …`: whether the workers' code may be replaced, and which builds run what.

What changes something is Temporal's own command: docs/operations.md has it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Annotated

import orjson
import typer
from rich.console import Console

from api.fields import Document
from cli.listing import Found, Listing, Read, Source, listed
from cli.options import example
from cli.words import say
from runtime import replay, temporal
from runtime.replay import Replay
from runtime.settings import ENDPOINTS_FILE, ConfigurationError, Settings
from service import deployment
from service.deployment import State, Trouble
from service.temporal import UNREACHABLE, TemporalUnreachable

SIGN_SECONDS = 2.0
SHOWN = 20

app = typer.Typer(help="Replace the code of the workers.", no_args_is_help=True)
waiting = Console(stderr=True)
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


class Build(Document):
    """Code of a worker. `polled`: whether a worker of it asks for work."""

    deployment: str
    id: str
    state: State
    polled: bool
    pinned: int


class StuckWorkflow(Document):
    """One that cannot go on."""

    workflow_id: str
    workflow_type: str
    trouble: Trouble
    cause: str


BUILDS: Mapping[str, Callable[[Build], object]] = {
    "deployment": lambda each: each.deployment,
    "id": lambda each: each.id,
    "state": lambda each: each.state,
    "polled": lambda each: each.polled,
    "pinned": lambda each: each.pinned,
}
STUCK: Mapping[str, Callable[[StuckWorkflow], object]] = {
    "workflowId": lambda each: each.workflow_id,
    "workflowType": lambda each: each.workflow_type,
    "trouble": lambda each: each.trouble,
    "cause": lambda each: each.cause,
}


@dataclass
class Looked:
    """What is known so far."""

    all: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    diverged: list[Replay] = field(default_factory=list)

    @property
    def stops(self) -> list[Replay]:
        return [each for each in self.diverged if each.stops]

    def add(self, found: Replay) -> None:
        self.by_type[found.workflow_type] += 1
        if found.divergence is not None:
            self.diverged.append(found)


@app.command(epilog=example("deploy check"))
def check(as_json: AsJson = False) -> None:
    """Replay every workflow that runs in the code of this release, before it is released. Changes
    nothing. Needs TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and PAYLOAD_KEYS.

    Exit code 1 when one of them would stand still.
    """
    looked = asyncio.run(_look())
    if as_json:
        typer.echo(orjson.dumps(_document(looked)))
    else:
        _tell(looked)
    if looked.stops:
        raise typer.Exit(1)


async def _look() -> Looked:
    looked = Looked()
    alive = asyncio.create_task(_count_aloud(looked))
    try:
        client = await temporal.connect_later(_settings())
        async with deployment.asking():
            looked.all = (await client.count_workflows(replay.RUNNING)).count
        async for found in replay.replays(client):
            looked.add(found)
    except UNREACHABLE as error:
        raise TemporalUnreachable(str(error)) from error
    finally:
        alive.cancel()
    return looked


async def _count_aloud(looked: Looked) -> None:
    """A sign that somebody works, for as long as it takes."""
    while True:
        await asyncio.sleep(SIGN_SECONDS)
        waiting.print(f"{looked.by_type.total():,} of {looked.all:,} looked at", style="dim")


def _tell(looked: Looked) -> None:
    stops, stays = looked.stops, [each for each in looked.diverged if not each.stops]
    wrong = Counter(each.workflow_type for each in looked.diverged)
    for name, count in sorted(looked.by_type.items()):
        says = f"{count - wrong[name]:,} of {count:,} go on in this code"
        say(f"{name:20} {says}", style="bold red" if wrong[name] else None)
    for build in sorted({each.build for each in stays if each.build is not None}):
        of_build = [each for each in stays if each.build == build]
        say(f"{len(of_build):,} go on in build {build} only: let its workers run until they end.")
        _list(of_build)
    if stops:
        say(f"{len(stops):,} would stand still: do not release this code.", style="bold red")
        _list(stops)
    else:
        say("Nothing would stand still.", style="bold")


def _list(diverged: Sequence[Replay]) -> None:
    for each in diverged[:SHOWN]:
        say(f"  {each.workflow_id}: {each.divergence}")
    if (left := len(diverged) - SHOWN) > 0:
        say(f"  and {left:,} more")


def _document(looked: Looked) -> dict[str, object]:
    return {
        "workflows": looked.by_type,
        "standStill": len(looked.stops),
        "diverged": [
            {
                "workflowId": each.workflow_id,
                "workflowType": each.workflow_type,
                "divergence": each.divergence,
                "build": each.build,
            }
            for each in looked.diverged
        ],
    }


@app.command("list", epilog=example("deploy list --csv"))
@listed
def list_() -> Listing[Build]:
    """The builds that Temporal knows, and what is pinned to each.

    A build may be stopped when it is not current and nothing is pinned to it.
    """
    nothing = (
        "No builds: workers have no TEMPORAL_WORKER_BUILD_ID, and each goes on with everything."
    )
    hint = "Which workflows cannot go on: billing deploy stuck"
    return Listing(Build, _temporal(_builds), BUILDS, nothing, hint)


@app.command(epilog=example("deploy stuck --json"))
@listed
def stuck() -> Listing[StuckWorkflow]:
    """The first workflows that cannot go on, and why."""
    return Listing(StuckWorkflow, _temporal(_stuck), STUCK, "Every workflow can go on.")


async def _builds() -> Found:
    client = await temporal.connect_later(_settings())
    return Found([asdict(each) for each in await deployment.builds(client)])


async def _stuck() -> Found:
    client = await temporal.connect_later(_settings())
    found = await deployment.stuck(client)
    items = [
        {
            "workflowId": each.workflow_id,
            "workflowType": each.workflow_type,
            "trouble": each.trouble,
            "cause": each.cause,
        }
        for each in found.first
    ]
    return Found(items, more=found.total > len(items))


def _temporal(asking: Callable[[], Awaitable[Found]]) -> Source:
    """What Temporal itself is asked for."""

    async def read(limit: int) -> Found:
        found = await asking()
        return Found(found.items[:limit], found.more or len(found.items) > limit)

    @asynccontextmanager
    async def source() -> AsyncIterator[Read]:
        yield read

    return source


def _settings() -> Settings:
    settings = Settings()
    if "temporal_address" not in settings.model_fields_set:
        raise ConfigurationError(
            f"Nothing runs here: start `make dev` in another terminal (it writes {ENDPOINTS_FILE}),"
            " or set TEMPORAL_ADDRESS."
        )
    return settings.beside()
