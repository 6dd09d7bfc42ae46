"""Our own processes in the embedded stack: the API and a worker, as children like the servers."""

import sys
from collections.abc import Mapping
from pathlib import Path

from dev import process
from dev.process import Server
from dev.stack import Stack

READY = "the worker is ready"


def environment(stack: Stack, **settings: object) -> dict[str, str]:
    """The environment of a child: the stack's addresses, development, and further settings."""
    return {
        **process.python_environment(),
        **stack.endpoints.environment(),
        "BILLING_ENVIRONMENT": "dev",
        **{name.upper(): str(value) for name, value in settings.items()},
    }


def start_api(stack: Stack, port: int, child_environment: Mapping[str, str]) -> Server:
    """The HTTP API on the loopback interface."""
    process.require_free(port, "API")
    return process.start(
        "API",
        [sys.executable, "-m", "cli.main", "api"],
        log=stack.directory / "api.log",
        ready=lambda: process.http_get(port, "/health/ready")[0] == 200,
        environment={**child_environment, "API_PORT": str(port)},
    )


def start_worker(stack: Stack, name: str, child_environment: Mapping[str, str]) -> Server:
    """A worker; several may run side by side under different names."""
    log = stack.directory / f"{name}.log"
    return process.start(
        name.capitalize(),
        [sys.executable, "-m", "cli.main", "worker"],
        log=log,
        ready=lambda: READY in _read(log),
        environment=child_environment,
    )


def _read(log: Path) -> str:
    return log.read_text(errors="replace")
