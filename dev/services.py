"""Our own processes in the embedded stack: the API and a worker, as children like the servers."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Never

from dev import process
from dev.process import Server
from dev.seed import seed_at
from dev.stack import Progress, Stack, stop
from runtime import schema

READY = "the worker is ready"
OF_ONE_PROCESS = ("WORKER_PORT", "TEMPORAL_METRICS_PORT")
"""Settings of the launcher's own environment that two children cannot share."""
NO_PORTS: Mapping[str, int] = {}


def environment(stack: Stack, **settings: object) -> dict[str, str]:
    """The environment of a child: the stack's addresses, development, and further settings."""
    inherited = process.python_environment()
    for name in OF_ONE_PROCESS:
        inherited.pop(name, None)
    return {
        **inherited,
        **stack.endpoints.environment(),
        "BILLING_ENVIRONMENT": "dev",
        **{name.upper(): str(value) for name, value in settings.items()},
    }


def believing(issuer: str) -> dict[str, str]:
    """What every process is told of our own issuer at this address."""
    own = {"alias": "own", "issuer": issuer, "audience": "billing"}
    return {"AUTH_ISSUER": issuer, "OIDC_ISSUERS": json.dumps([own])}


def prepare(stack: Stack, progress: Progress) -> None:
    """Bring the schema up to date and make the development data."""
    began = time.monotonic()
    schema.upgrade(stack.endpoints.database_owner_url)
    asyncio.run(seed_at(stack.endpoints.database_url))
    progress("Schema is ready", time.monotonic() - began)


@contextmanager
def running(
    stack: Stack,
    port: int,
    child_environment: Mapping[str, str],
    progress: Progress,
    worker_ports: Mapping[str, int] = NO_PORTS,
) -> Iterator[list[Server]]:
    """The API and one worker, in this order, for the length of the block. `worker_ports`: where the
    worker listens, by setting.

    What the list holds at the end is stopped: whoever replaces a process replaces its entry.
    """
    ours: list[Server] = []
    began = time.monotonic()
    try:
        ours.append(start_api(stack, port, child_environment))
        listening = {name: str(number) for name, number in worker_ports.items()}
        ours.append(start_worker(stack, "worker", {**child_environment, **listening}))
        process.wait_until_ready(
            ours, lambda each: progress(f"{each.name} is ready", time.monotonic() - began)
        )
        yield ours
    finally:
        stop(ours, progress)


@contextmanager
def issuing(
    stack: Stack, port: int, child_environment: Mapping[str, str], progress: Progress
) -> Iterator[Server]:
    """Our own issuer for the length of the block: ready before anybody asks for its keys."""
    servers: list[Server] = []
    began = time.monotonic()
    try:
        servers.append(start_auth(stack, port, child_environment))
        process.wait_until_ready(
            servers, lambda each: progress(f"{each.name} is ready", time.monotonic() - began)
        )
        yield servers[0]
    finally:
        stop(servers, progress)


def watch(stack: Stack, ours: Sequence[Server]) -> Never:
    """Wait for Ctrl-C; raises StackError naming the first process that ends by itself."""
    while True:
        stack.check_running()
        for server in ours:
            process.check_running(server)
        time.sleep(0.5)


def start_api(
    stack: Stack, port: int, child_environment: Mapping[str, str], name: str = "api"
) -> Server:
    """The HTTP API on the loopback interface; several may run side by side, each with a name."""
    return process.start(
        "API",
        [sys.executable, "-m", "cli.main", "api"],
        log=stack.directory / f"{name}.log",
        ready=lambda: process.http_get(port, "/health/ready")[0] == 200,
        environment={**child_environment, "API_PORT": str(port)},
    )


def start_auth(
    stack: Stack, port: int, child_environment: Mapping[str, str], name: str = "auth"
) -> Server:
    """Our own issuer of tokens on the loopback interface; several may run under different names."""
    return process.start(
        "Log-in",
        [sys.executable, "-m", "cli.main", "auth"],
        log=stack.directory / f"{name}.log",
        ready=lambda: process.http_get(port, "/health/ready")[0] == 200,
        environment={**child_environment, "AUTH_PORT": str(port)},
    )


def start_worker(stack: Stack, name: str, child_environment: Mapping[str, str]) -> Server:
    """A worker; several may run side by side under different names."""
    log = stack.directory / f"{name}.log"
    # That it is ready is read from its log, which must therefore not be quieter than this.
    level = "DEBUG" if child_environment.get("LOG_LEVEL") == "DEBUG" else "INFO"
    return process.start(
        name.capitalize(),
        [sys.executable, "-m", "cli.main", "worker"],
        log=log,
        ready=lambda: READY in log.read_text(errors="replace"),
        environment={**child_environment, "LOG_LEVEL": level},
    )
