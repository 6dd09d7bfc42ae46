"""`billing dev`: the whole system on this machine, until Ctrl-C."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dev import process
from dev.alive import Voice, signs_of_life
from dev.process import Server
from dev.stack import LOCK, SimulatorOptions, Stack, alone, durable_stack
from dev.temporal import UI_PORT
from domain.event import TOPICS
from runtime.settings import ENDPOINTS_FILE, Settings

API_PORT = "API_PORT"
WORKER_PORT = "WORKER_PORT"
SDK_PORT = "TEMPORAL_METRICS_PORT"
AUTH_PORT = "AUTH_PORT"

console = Console()


def dev(
    port: Annotated[
        int, typer.Option(help="Port of the API.", envvar=API_PORT, min=1, max=65535)
    ] = 8080,
    ui_port: Annotated[
        int, typer.Option(help="Port of the Temporal UI.", envvar=UI_PORT, min=1, max=65535)
    ] = 8233,
    worker_port: Annotated[
        int,
        typer.Option(
            help="Port of the worker's probes and metrics.", envvar=WORKER_PORT, min=1, max=65535
        ),
    ] = 8081,
    sdk_port: Annotated[
        int,
        typer.Option(help="Port of its Temporal SDK's metrics.", envvar=SDK_PORT, min=1, max=65535),
    ] = 8083,
    time_scale: Annotated[
        float,
        typer.Option(help="Divides every wait on the gateway.", envvar="TIME_SCALE", min=1),
    ] = 1.0,
    directory: Annotated[Path, typer.Option(help="Where the data are kept.")] = Path(".data"),
    secure: Annotated[
        bool,
        typer.Option(
            "--secure", envvar="SECURE", help="Ask for tokens, of an issuer of our own beside it."
        ),
    ] = False,
    auth_port: Annotated[
        int, typer.Option(help="Port of that issuer.", envvar=AUTH_PORT, min=1, max=65535)
    ] = 8084,
) -> None:
    """Run the whole system on this machine until Ctrl-C; its data stay.

    PostgreSQL, Valkey, Temporal with its UI, Kafka, the gateway simulator, the API and a worker.
    """
    process.leave_in_order()
    endpoints_file = Path(ENDPOINTS_FILE)
    refusal = "`make dev` already runs in this folder: use that one, or stop it with Ctrl-C there."
    try:
        with (
            signs_of_life() as voice,
            alone(endpoints_file.with_name(LOCK), refusal, endpoints_file, console.print),
        ):
            process.require_free(port, "API", API_PORT)
            process.require_free(ui_port, "Temporal UI", UI_PORT)
            process.require_free(worker_port, "Worker", WORKER_PORT)
            process.require_free(sdk_port, "Temporal SDK", SDK_PORT)
            if secure:
                process.require_free(auth_port, "Log-in", AUTH_PORT)
            console.print("Starting real servers ...")
            with durable_stack(
                directory, TOPICS, simulator(port, time_scale), ui_port=ui_port, progress=report
            ) as stack:
                worker_ports = {WORKER_PORT: worker_port, SDK_PORT: sdk_port}
                issuer_port = auth_port if secure else None
                _run(stack, port, worker_ports, time_scale, endpoints_file, voice, issuer_port)
    except KeyboardInterrupt:
        console.print(f"Stopped. The data stay in {directory}.", soft_wrap=True, highlight=False)


def _run(
    stack: Stack,
    port: int,
    worker_ports: Mapping[str, int],
    time_scale: float,
    endpoints_file: Path,
    voice: Voice,
    auth_port: int | None,
) -> None:
    # Not at the top: importing all that takes a second or more in which nobody would be told.
    from dev import services

    services.prepare(stack, report)
    environment = services.environment(stack, time_scale=time_scale)
    with ExitStack() as running:
        issuer, beside = f"http://127.0.0.1:{auth_port}", list[Server]()
        if auth_port is not None:
            environment |= services.believing(issuer)
            beside.append(
                running.enter_context(services.issuing(stack, auth_port, environment, report))
            )
        ours = running.enter_context(
            services.running(stack, port, environment, report, worker_ports)
        )
        running.enter_context(
            stack.endpoints.published(
                endpoints_file,
                BILLING_ENVIRONMENT="dev",
                BILLING_API_URL=f"http://127.0.0.1:{port}",
            )
        )
        running.enter_context(voice.quiet())
        console.print(addresses(stack, port, *worker_ports.values()))
        if auth_port is not None:
            _tell_who_can_log_in(stack, issuer)
        console.print("Ctrl-C stops everything.")
        services.watch(stack, [*ours, *beside])


def _tell_who_can_log_in(stack: Stack, issuer: str) -> None:
    from dev import users
    from runtime import keys

    made = asyncio.run(users.make(stack.endpoints.auth_database_url, keys.ring(Settings())))
    console.print(f"Tokens are asked for. At {issuer} log in:", highlight=False)
    for each in made:
        console.print(f"  {each.name}  {each.password}", markup=False, highlight=False)
    if not made:
        console.print("  those who were named here the first time (`billing user list`);")
        console.print("  `billing user set-password NAME` gives one another password.")


def simulator(port: int, time_scale: float) -> SimulatorOptions:
    """The gateway simulator, which sends its webhooks to the API on this port."""
    return SimulatorOptions(
        webhook_url=f"http://127.0.0.1:{port}/webhooks/gateway/simulator",
        webhook_secret=Settings().gateway_webhook_secrets[0],
        time_scale=time_scale,
    )


def report(what: str, seconds: float) -> None:
    """One line for each part that has become ready, or has stopped."""
    console.print(f"  {what} [dim]({seconds:.1f} s)[/dim]", highlight=False)


def addresses(stack: Stack, port: int, *more_metrics: int) -> Table:
    """Where a person finds things."""
    table = Table(show_header=False, box=None)
    table.add_row("API", f"http://127.0.0.1:{port}/swagger")
    table.add_row("Temporal UI", stack.endpoints.temporal_ui_url)
    table.add_row("Gateway simulator", f"{stack.endpoints.gateway_url}/docs")
    scraped = (f"http://127.0.0.1:{each}/metrics" for each in (port, *more_metrics))
    table.add_row("Metrics", "\n".join(scraped))
    table.add_row("Logs", str(stack.directory))
    return table
