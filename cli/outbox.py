"""`billing outbox …`: publishing events again."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from cli.options import example
from cli.system import connected
from domain import ranking
from domain.event import Topic
from service import event

app = typer.Typer(help="Events on their way to Kafka.", no_args_is_help=True)
console = Console()


class ReadModel(StrEnum):
    RANKING = ranking.CONSUMER


@app.command(epilog=example("outbox republish --topic billing.order.completed"))
def republish(
    topic: Annotated[Topic, typer.Option(help="Every event of this topic, oldest first.")],
    rebuild: Annotated[
        ReadModel | None,
        typer.Option(help="Forget this read model first, so that it is built again."),
    ] = None,
) -> None:
    """Publish events again, under their old ids: consumers that keep an inbox skip them."""
    count = asyncio.run(_republish(topic, rebuild))
    console.print(f"{count} events of {topic} will be published again by the relay.")


async def _republish(topic: Topic, rebuild: ReadModel | None) -> int:
    async with connected() as system:
        if rebuild is ReadModel.RANKING:
            if topic is not Topic.ORDER_COMPLETED:
                raise typer.BadParameter(f"The ranking is built from {Topic.ORDER_COMPLETED}.")
            return await event.rebuild_ranking(system.desk, system.access)
        return await event.republish(system.desk, system.access, topic)
