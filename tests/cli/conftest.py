"""Running the command against the API and the stack of this test process."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from dev.stack import Stack
from tests.conftest import UI

Command = Callable[..., Awaitable[Result]]

# What a shell starts in the background ignores Ctrl-C, and so does all that it starts; the commands
# under test are to meet it as on a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
