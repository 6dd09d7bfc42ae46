"""`billing demo`: a scenario on a stack of its own, every step explained and checked."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated

import typer
from rich.console import Console

from cli.dev import addresses, report, simulator
from dev import process
from dev.alive import Voice, signs_of_life
from dev.demo.verdict import Unexpected
from dev.process import Server
from dev.stack import Stack, durable_stack, temporary_directory
from domain.event import TOPICS

TIME_SCALE = 2.0
"""The first wait after a lost answer, 2 s, becomes one second."""

console = Console()


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C, to look around.")
    ] = False,
) -> None:
    """Play a scenario on a stack of its own; explain and check every step.

    Real servers on free ports, data in a temporary directory; nothing is left of them at the end,
    but for the logs when a step went wrong.
    """
    process.leave_in_order()
    began = time.monotonic()
    port = process.free_port()
    with signs_of_life() as voice:
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
            _play(stack, port, voice if keep else None)
    console.print(f"{time.monotonic() - began:.0f} s in all.", highlight=False)
    console.print("Everything was as it must be, and everything is stopped.")


@contextmanager
def ends_of_logs(ours: Sequence[Server]) -> Iterator[None]:
    """What goes wrong within the block comes with the last lines of our own processes."""
    try:
        yield
    except Unexpected as error:
        for server in ours:
            error.add_note(process.end_of(server.log))
        raise


def _play(stack: Stack, port: int, keep: Voice | None) -> None:
    # Not at the top: importing all that takes a second or more in which nobody would be told.
    from dev import services
    from dev.demo.performance import perform

    services.prepare(stack, report)
    environment = services.environment(
        stack, time_scale=TIME_SCALE, billing_api_url=f"http://127.0.0.1:{port}"
    )
    with services.running(stack, port, environment, report) as ours:
        failure: Unexpected | None = None
        try:
            with ends_of_logs(ours):
                asyncio.run(perform(console, stack, ours, port, environment))
        except Unexpected as error:
            failure = error
        if keep is not None:
            if failure is not None:
                console.print(str(failure), style="red", soft_wrap=True, highlight=False)
            console.print(addresses(stack, port))
            console.print("Ctrl-C stops everything and removes the data.")
            with suppress(KeyboardInterrupt), keep.quiet():
                services.watch(stack, ours)
        if failure is not None:
            raise failure
