"""`billing demo`: a scenario on a stack of its own, every step explained and checked."""

import asyncio
import time
from collections.abc import Mapping
from typing import Annotated

import httpx2
import typer
from rich.console import Console

from cli.dev import addresses, leave_in_order, report, simulator
from dev import process, services
from dev.demo.scenario import play
from dev.demo.shop import Shop
from dev.demo.stage import Stage
from dev.demo.summary import summary
from dev.demo.verdict import Unexpected
from dev.process import Server
from dev.stack import Stack, durable_stack, temporary_directory
from domain.event import TOPICS
from store import database

TIME_SCALE = 2.0
"""The first wait after a lost answer, 2 s, becomes one second."""

console = Console()


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C, to look around.")
    ] = False,
) -> None:
    """Play a scenario on a stack of its own; explain and check every step.

    Real servers on free ports, data in a temporary directory; nothing is left of them at the end.
    """
    leave_in_order()
    began = time.monotonic()
    port = process.free_port()
    console.print(
        f"Starting real servers for this demo; waits on the gateway are {TIME_SCALE:g} times "
        "shorter than in production.",
        highlight=False,
    )
    with (
        temporary_directory() as directory,
        durable_stack(
            directory,
            TOPICS,
            simulator(port, TIME_SCALE),
            ui_port=process.free_port(),
            progress=report,
            environment={},
        ) as stack,
    ):
        services.prepare(stack, report)
        environment = services.environment(stack, time_scale=TIME_SCALE)
        with services.running(stack, port, environment, report) as ours:
            failure = asyncio.run(_perform(stack, ours, port, environment))
            console.print(f"{time.monotonic() - began:.0f} s in all.", highlight=False)
            if keep:
                _stay(stack, ours, port)
    if failure is not None:
        console.print(failure, style="red", soft_wrap=True, highlight=False)
        if not keep:
            console.print("`billing demo --keep` leaves everything running, to look around.")
        raise typer.Exit(1)
    console.print("Everything was as it must be, and everything is stopped.")


async def _perform(
    stack: Stack, ours: list[Server], port: int, environment: Mapping[str, str]
) -> str | None:
    """Play all steps and print the table; what went wrong, if anything did."""
    pool = database.connect(stack.endpoints.database_url, pool_size=2)
    try:
        async with (
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as api,
            httpx2.AsyncClient(base_url=stack.endpoints.gateway_url, timeout=30) as gateway,
        ):
            stage = Stage(console, stack, environment, ours, pool, Shop(api, gateway))
            await play(stage)
            console.print()
            console.print(await summary(stage))
    except Unexpected as error:
        return str(error)
    finally:
        await pool.dispose()
    return None


def _stay(stack: Stack, ours: list[Server], port: int) -> None:
    console.print(addresses(stack, port))
    console.print("Ctrl-C stops everything and removes the data.")
    try:
        services.watch(stack, ours)
    except KeyboardInterrupt:
        console.print()
