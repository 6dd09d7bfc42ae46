"""The whole integration demo on a running stack."""

import sys
from contextlib import AsyncExitStack

import httpx2
from rich.console import Console

from dev import process
from dev.demo.scenario import play
from dev.demo.shop import Shop
from dev.integration import mailbox, notifier
from dev.integration.cycle import STEPS
from dev.integration.installation import Ports
from dev.integration.town import OPERATOR, Town
from dev.process import Server
from dev.stack import Stack
from domain.roles import Role
from runtime.desk import connected
from runtime.settings import Settings


async def perform(
    console: Console,
    stack: Stack,
    ours: list[Server],
    ports: Ports,
    environment: dict[str, str],
) -> None:
    """Play all steps; raises `Unexpected` when something went wrong. Processes that it starts are
    added to `ours`, for the caller to stop."""
    addresses = {**stack.endpoints.environment(), "PAYLOAD_KEYS": environment["PAYLOAD_KEYS"]}
    settings = Settings.model_validate({name.lower(): each for name, each in addresses.items()})
    desk = await connected(settings, pool_size=2, wait_seconds=30)
    async with AsyncExitStack() as clients:
        clients.push_async_callback(desk.database.dispose)
        sink = await clients.enter_async_context(mailbox.serving())
        # However long an answer takes: the stage is watched.
        api, gateway = [
            await clients.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=None))
            for url in (f"http://127.0.0.1:{ports.api}", stack.endpoints.gateway_url)
        ]
        town = Town(
            console,
            stack,
            environment,
            ours,
            desk,
            Shop(api, gateway),
            ports=ports,
            mailbox=sink,
            stranger=api,
            gateway=gateway,
            clients=clients,
        )
        town.shop = await town.let_in(OPERATOR, Role.OPERATOR)
        ours.append(_notifier(stack, sink.port))
        await play(town, STEPS)


def _notifier(stack: Stack, smtp_port: int) -> Server:
    log = stack.directory / "notifier.log"
    argv = [sys.executable, "-m", "dev.integration.notifier"]
    argv += ["--kafka", stack.endpoints.kafka_bootstrap_servers, "--smtp-port", str(smtp_port)]
    return process.start(
        "Notifier",
        argv,
        log=log,
        ready=lambda: notifier.READY in log.read_text(errors="replace"),
        environment=process.python_environment(),
    )
