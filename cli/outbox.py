"""`billing outbox …`: publishing events again."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from domain.event import Topic
from runtime import ranking_consumer
from runtime.settings import Settings
from store import database, outbox

app = typer.Typer(help="Events on their way to Kafka.", no_args_is_help=True)
console = Console()


class ReadModel(StrEnum):
    RANKING = ranking_consumer.CONSUMER


@app.command()
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
    pool = database.connect(Settings().database_url, pool_size=1)
    try:
        if rebuild is ReadModel.RANKING:
            if topic is not ranking_consumer.TOPIC:
                raise typer.BadParameter(f"The ranking is built from {ranking_consumer.TOPIC}.")
            return await ranking_consumer.rebuild(pool)
        async with pool.begin() as tx:
            return await outbox.republish(tx, topic)
    finally:
        await pool.dispose()
