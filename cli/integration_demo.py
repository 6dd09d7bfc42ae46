"""`billing integration-demo`: one cycle from usage to money, among the systems that take part."""

import asyncio
import time
from typing import TYPE_CHECKING

from rich.console import Console

from cli.demo import ends_of_logs
from cli.dev import report
from dev import process
from dev.alive import signs_of_life
from dev.process import Server
from dev.stack import SimulatorOptions, Stack, durable_stack, stop, temporary_directory
from domain.event import TOPICS

if TYPE_CHECKING:
    from dev.integration.installation import Ports

console = Console()


def integration_demo() -> None:
    """Play one cycle, usage to payment, as in production; check every step.

    Real servers, our own issuer, the API and a worker that ask for tokens and seal what they keep,
    two systems that report usage, and one that writes mails. Nothing is left of them at the end,
    but for the logs when a step went wrong.
    """
    # Not at the top: importing all that takes a second or more, and every command would wait.
    from dev.integration import installation
    from dev.integration.installation import Ports

    process.leave_in_order()
    began = time.monotonic()
    ports = Ports(api=process.free_port(), auth=process.free_port())
    own = installation.fresh_secrets("first")
    gateway = SimulatorOptions(
        webhook_url=f"http://127.0.0.1:{ports.api}/webhooks/gateway/simulator",
        webhook_secret=own[installation.WEBHOOK_SECRET],
    )
    with signs_of_life():
        console.print("Starting real servers for this demo ...", highlight=False)
        with (
            temporary_directory() as directory,
            durable_stack(
                directory,
                TOPICS,
                gateway,
                ui_port=process.free_port(),
                progress=report,
                environment={},
            ) as stack,
        ):
            _play(stack, ports, installation.environment(stack, ports, own))
    console.print(f"{time.monotonic() - began:.0f} s in all.", highlight=False)
    console.print("Everything was as it must be, and everything is stopped.")


def _play(stack: Stack, ports: "Ports", environment: dict[str, str]) -> None:
    from dev.integration import installation
    from dev.integration.performance import perform
    from runtime import schema

    schema.upgrade(stack.endpoints.database_owner_url)
    began = time.monotonic()
    ours: list[Server] = []
    try:
        ours += installation.start(stack, ports, environment, generation=1)
        process.wait_until_ready(
            ours, lambda each: report(f"{each.name} is ready", time.monotonic() - began)
        )
        with ends_of_logs(ours):
            asyncio.run(perform(console, stack, ours, ports, environment))
    finally:
        stop(ours, report)
