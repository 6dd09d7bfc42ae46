"""Running the command against the stack of this test process."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from dev.stack import Stack

Command = Callable[..., Awaitable[Result]]

# What a shell starts in the background ignores Ctrl-C, and so does all that it starts; the commands
# under test are to meet it as on a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def command(stack: Stack) -> Command:
    """`await command("payment", "show", id_)`; keyword arguments are environment variables, but for
    `said`, which comes on standard input.

    In a thread of its own: a command brings its own event loop, and the worker needs ours.
    """

    async def run(*arguments: str, said: str = "", **environment: str | None) -> Result:
        variables = {**stack.endpoints.environment(), "TEMPORAL_UI_URL": "http://ui", **environment}
        return await asyncio.to_thread(
            lambda: CliRunner().invoke(app, arguments, input=said, env=variables)
        )

    return run
