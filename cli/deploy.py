"""`billing deploy …`: whether the workers' code may be replaced, and which builds run what.

What changes something is Temporal's own command: docs/operations.md has it.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated

import orjson
import typer
from rich.console import Console

from cli.options import example
from cli.words import say
from runtime import replay, temporal
from runtime.replay import Replay
from runtime.settings import ENDPOINTS_FILE, ConfigurationError, Settings
from service import deployment
from service.temporal import UNREACHABLE, TemporalUnreachable

SIGN_SECONDS = 2.0
SHOWN = 20

app = typer.Typer(help="Replace the code of the workers.", no_args_is_help=True)
waiting = Console(stderr=True)
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


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


@app.command("list", epilog=example("deploy list --json"))
def list_(as_json: AsJson = False) -> None:
    """The builds that Temporal knows, what is pinned to each, and what cannot go on.

    A build may be stopped when it is not current and nothing is pinned to it.
    """
    builds, stuck = asyncio.run(_listed())
    if as_json:
        counts = {str(trouble): count for trouble, count in stuck.counts.items()}
        said = {"builds": [asdict(each) for each in builds], "stuck": counts}
        typer.echo(orjson.dumps(said))
        return
    say(f"{'BUILD':30} {'STATE':10} {'WORKERS':8} {'PINNED':>8}", style="bold")
    for each in builds:
        name, polled = f"{each.deployment}:{each.id}", "yes" if each.polled else "no"
        say(f"{name:30} {each.state:10} {polled:8} {each.pinned:8,}")
    if not builds:
        say("none: workers have no TEMPORAL_WORKER_BUILD_ID, and each goes on with everything.")
    if stuck.total:
        say(f"Workflows that cannot go on: {stuck.total:,}", style="bold red")
    for one in stuck.first:
        say(f"  {one.workflow_id}: {one.cause}")
    if (left := stuck.total - len(stuck.first)) > 0:
        say(f"  and {left:,} more")


async def _listed() -> tuple[list[deployment.Build], deployment.Stuck]:
    client = await temporal.connect_later(_settings())
    return await deployment.builds(client), await deployment.stuck(client)


def _settings() -> Settings:
    settings = Settings()
    if "temporal_address" not in settings.model_fields_set:
        raise ConfigurationError(
            f"Nothing runs here: start `make dev` in another terminal (it writes {ENDPOINTS_FILE}),"
            " or set TEMPORAL_ADDRESS."
        )
    return settings.beside()
