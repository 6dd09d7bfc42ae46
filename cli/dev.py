"""`billing dev`: the whole system on this machine, until Ctrl-C."""

import asyncio
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dev import process, services
from dev.process import Server
from dev.seed import seed
from dev.stack import SimulatorOptions, Stack, durable_stack
from domain.event import Topic
from runtime import schema
from runtime.settings import ENDPOINTS_FILE, Settings
from store import database

console = Console()
TOPICS = [topic.value for topic in Topic]


def dev(
    port: Annotated[int, typer.Option(help="Of the API.", envvar="API_PORT")] = 8080,
    ui_port: Annotated[int, typer.Option(help="Of the Temporal UI.")] = 8233,
    time_scale: Annotated[
        float, typer.Option(help="Divides every wait on the gateway.", envvar="TIME_SCALE")
    ] = 1.0,
    directory: Annotated[Path, typer.Option(help="Where the data are kept.")] = Path(".data"),
) -> None:
    """Run PostgreSQL, Valkey, Temporal, Kafka, the gateway simulator, the API and a worker."""
    process.die_with_parent()
    signal.signal(signal.SIGTERM, _leave)
    process.require_free(port, "API")
    settings = Settings()
    simulator = SimulatorOptions(
        webhook_url=f"http://127.0.0.1:{port}/webhooks/gateway/simulator",
        webhook_secret=settings.gateway_webhook_secret.get_secret_value(),
        time_scale=time_scale,
    )
    try:
        with durable_stack(
            directory,
            TOPICS,
            simulator,
            ui_port=ui_port,
            endpoints_file=Path(ENDPOINTS_FILE),
            progress=report,
        ) as stack:
            prepare(stack)
            _serve(stack, port, time_scale)
    except KeyboardInterrupt:
        console.print("stopped; the data stay in", str(directory))


def report(name: str, seconds: float) -> None:
    """One line for each part that has become ready."""
    console.print(f"  {name} is ready [dim]({seconds:.1f} s)[/dim]", highlight=False)


def prepare(stack: Stack) -> None:
    """Bring the schema up to date and make the development data."""
    schema.upgrade(stack.endpoints.database_owner_url)
    asyncio.run(_seed(stack.endpoints.database_url))
    report("Schema", 0)


async def _seed(url: str) -> None:
    pool = database.connect(url, pool_size=1)
    await seed(pool)
    await pool.dispose()


def _serve(stack: Stack, port: int, time_scale: float) -> None:
    environment = services.environment(stack, time_scale=time_scale)
    ours: list[Server] = []
    try:
        ours.append(services.start_api(stack, port, environment))
        ours.append(services.start_worker(stack, "worker", environment))
        started = time.monotonic()
        process.wait_until_ready(
            ours, lambda server: report(server.name, time.monotonic() - started)
        )
        console.print(_addresses(stack, port))
        console.print("Ctrl-C stops everything.")
        while True:
            stack.check_running()
            for server in ours:
                process.check_running(server)
            time.sleep(0.5)
    finally:
        process.stop(ours)


def _addresses(stack: Stack, port: int) -> Table:
    table = Table(show_header=False, box=None)
    table.add_row("API", f"http://127.0.0.1:{port}/swagger")
    table.add_row("Temporal UI", stack.endpoints.temporal_ui_url)
    table.add_row("Gateway simulator", f"{stack.endpoints.gateway_url}/docs")
    table.add_row("Logs", str(stack.directory))
    return table


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
