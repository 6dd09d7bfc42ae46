"""A worker process: `python worker.py`, or `billing worker`."""

import asyncio
import signal
import sys
from collections.abc import Sequence

import uvloop
from pydantic import ValidationError
from pydantic_settings import SettingsError

from runtime import logs
from runtime.processes import work
from runtime.production import require_worker
from runtime.settings import ConfigurationError, Settings, WorkerQueue, unusable


def main(queues: Sequence[WorkerQueue] | None = None) -> None:
    """Run until SIGINT or SIGTERM; activities get a few seconds to end. Serves these queues, or
    those of the settings."""
    settings = Settings() if queues is None else Settings(worker_queues=tuple(queues))
    require_worker(settings)
    logs.configure(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await work(settings, stop)


if __name__ == "__main__":
    try:
        main()
    except ConfigurationError as error:
        sys.exit(f"worker: {error}")
    except (ValidationError, SettingsError) as error:
        sys.exit(f"worker: {unusable(error)}")
