"""Running the command against the API and the stack of this test process."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from dev import process, services
from dev.stack import Stack
from runtime.settings import Settings

Command = Callable[..., Awaitable[Result]]

# What a shell starts in the background ignores Ctrl-C, and so does all that it starts; the commands
# under test are to meet it as on a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

UI = "http://ui"


@pytest.fixture(scope="session")
def api_url(stack: Stack, settings: Settings) -> Iterator[str]:
    """The address of an API in a process of its own, as the commands find it."""
    port = process.free_port()
    told = services.environment(
        stack,
        gateway_webhook_secret=settings.gateway_webhook_secret.get_secret_value(),
        time_scale=settings.time_scale,
        temporal_ui_url=UI,
        log_level="WARNING",
    )
    # Its log is not that of another API which a test starts.
    server = services.start_api(replace(stack, directory=stack.directory / "cli"), port, told)
    try:
        process.wait_until_ready([server])
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop([server])


@pytest.fixture
def command(stack: Stack, api_url: str, tmp_path: Path) -> Command:
    """`await command("payment", "show", id_)`; keyword arguments are environment variables, but for
    `stdin`.

    In a thread of its own: a command brings its own event loop, and the worker needs ours.
    """

    async def run(*arguments: str, stdin: str | None = None, **environment: str | None) -> Result:
        variables = {
            **stack.endpoints.environment(),
            "BILLING_ENVIRONMENT": "dev",
            "BILLING_API_URL": api_url,
            "TEMPORAL_UI_URL": UI,
            "XDG_STATE_HOME": str(tmp_path / "state"),
            **environment,
        }
        return await asyncio.to_thread(
            lambda: CliRunner().invoke(app, arguments, input=stdin, env=variables)
        )

    return run
