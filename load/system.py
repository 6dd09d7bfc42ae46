"""What is measured: a fresh durable stack with an API and a worker, and the floor beside them."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.engine import make_url

from cli.dev import report, simulator
from dev import postgres, process, services
from dev.process import Server
from dev.stack import Stack, durable_stack, temporary_directory
from domain.event import TOPICS
from load.floor import READY
from runtime.settings import Settings

FLOOR = "Floor"
"""How the names of its processes begin."""


@dataclass(frozen=True)
class System:
    """Everything runs on this machine, whoever measures too."""

    stack: Stack
    servers: tuple[Server, ...]
    api_port: int
    floor_port: int

    @property
    def ours(self) -> frozenset[str]:
        """The names of what runs for us, the servers included, and not for the floor."""
        return frozenset(each.name for each in self.servers if not each.name.startswith(FLOOR))

    @property
    def superuser_url(self) -> str:
        """For what only a benchmark does: log every statement, put rows in by millions."""
        url = make_url(self.stack.endpoints.database_url).set(username=postgres.SUPERUSER)
        return url.render_as_string(hide_password=False)


@contextmanager
def running() -> Iterator[System]:
    """Start it all, whatever the environment says of other servers; `Settings()` find it."""
    ports = api_port, floor_port, ui_port = [process.free_port() for _ in range(3)]
    while len(set(ports)) < len(ports):
        api_port, floor_port, ui_port = ports = [process.free_port() for _ in range(3)]
    with (
        temporary_directory() as directory,
        durable_stack(
            directory,
            TOPICS,
            simulator(api_port, time_scale=1),
            ui_port=ui_port,
            progress=report,
            environment={},
        ) as stack,
    ):
        services.prepare(stack, report)
        # However slow the machine is just now, an operation is measured to its end.
        environment = services.environment(stack, api_wait_seconds=60)
        with services.running(stack, api_port, environment, report) as ours:
            ours += _start_floor(stack, environment, floor_port)
            process.wait_until_ready(ours)
            os.environ.update(stack.endpoints.environment())
            yield System(stack, (*stack.servers, *ours), api_port, floor_port)


def _start_floor(stack: Stack, environment: Mapping[str, str], port: int) -> list[Server]:
    """Its API, its worker, and a gateway of its own, whose webhooks make no work for ours."""
    gateway_port = process.free_port()
    secret = Settings().gateway_webhook_secrets[0]
    gateway = ["-m", "dev.simulator", "--port", str(gateway_port)]
    gateway += ["--book", str(stack.directory / "floor.book"), "--time-scale", "1", "--seed", "1"]
    gateway += ["--webhook-url", f"http://127.0.0.1:{port}/webhook", "--webhook-secret", secret]
    its = {**environment, "API_PORT": str(port), "GATEWAY_URL": f"http://127.0.0.1:{gateway_port}"}
    worker_log = stack.directory / "floor-worker.log"
    parts: dict[str, tuple[list[str], Callable[[], bool]]] = {
        "gateway": (gateway, lambda: process.http_get(gateway_port, "/health")[0] == 200),
        "worker": (
            ["-m", "load.floor", "worker"],
            lambda: READY in worker_log.read_text(errors="replace"),
        ),
        "api": (
            ["-m", "load.floor", "api"],
            lambda: process.http_get(port, "/health/ready")[0] == 200,
        ),
    }
    return [
        process.start(
            f"{FLOOR} {name}",
            [sys.executable, *arguments],
            log=stack.directory / f"floor-{name}.log",
            ready=ready,
            environment=its,
        )
        for name, (arguments, ready) in parts.items()
    ]
