"""The whole demo on a running system."""

from collections.abc import Mapping

import httpx2
from rich.console import Console

from dev.demo.scenario import STEPS, play
from dev.demo.shop import Shop
from dev.demo.stage import Stage
from dev.demo.summary import summary
from dev.process import Server
from dev.stack import Stack
from runtime.desk import connected
from runtime.settings import Settings


async def perform(
    console: Console,
    stack: Stack,
    ours: list[Server],
    port: int,
    environment: Mapping[str, str],
) -> None:
    """Play all steps and print the table; raises `Unexpected` when something went wrong."""
    told = {name.lower(): value for name, value in environment.items()}
    desk = await connected(Settings.model_validate(told), pool_size=2, wait_seconds=30)
    try:
        async with (
            # However long an answer takes: the stage is watched.
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None) as api,
            httpx2.AsyncClient(base_url=stack.endpoints.gateway_url, timeout=None) as gateway,
        ):
            stage = Stage(console, stack, environment, ours, desk, Shop(api, gateway))
            await play(stage, STEPS)
            console.print()
            console.print(await summary(stage))
    finally:
        await desk.database.dispose()
