"""A worker process of one release, which may have other code than ours.

    python -m tests.support.release < plan.json

What the plan names is held: at the gateway the charge has been made, and its answer is on its way
until SIGUSR1. The process writes a line when it is ready, one with the id of each workflow that it
holds, and one when it has been told to stop (SIGTERM).
"""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from dev import process
from runtime import gateways, temporal
from runtime.settings import Settings
from runtime.workers import PAYMENTS, payments_worker, running
from store import database
from tests.support.conditions import eventually, meanwhile
from tests.support.faults import Fault, FaultInjector, Parked
from tests.workflows.planted import PayLater
from workflows.refund_saga import RefundSaga

READY, STOPPING = "ready", "stopping"
CHANGED = (PayLater, RefundSaga)
"""The workflows of a release that cannot go on with what ours has begun, nor ours with its."""


@dataclass(frozen=True)
class Plan:
    """`changed`: whether it has a step more than ours; `held`: ids of workflows."""

    changed: bool = False
    held: Sequence[str] = ()


@dataclass(frozen=True)
class Release:
    """The process, as the test sees it; `said` are its lines, and perhaps some of the SDK."""

    process: Process
    said: set[str]

    def let_go(self) -> None:
        """Let all answers of the gateway come."""
        self.process.send_signal(signal.SIGUSR1)

    async def told_to_stop(self) -> None:
        """It has been, and asks for no more work."""
        self.process.terminate()
        await self.says(STOPPING)

    async def says(self, line: str) -> None:
        async def has_said() -> bool:
            assert self.process.returncode is None, f"it has ended without a word of {line}"
            return line in self.said

        await eventually(has_said)


@asynccontextmanager
async def released(settings: Settings, plan: Plan) -> AsyncIterator[Release]:
    """A worker of this release in a process of its own; killed at the end, if it has not ended."""
    told = settings.model_dump(
        mode="json", exclude_defaults=True, exclude={"gateway_webhook_secret"}
    )
    variables = {name.upper(): str(value) for name, value in told.items()}
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.release"),
        stdin=PIPE,
        stdout=PIPE,
        env={**process.python_environment(), **variables},
    )
    assert worker.stdin is not None
    try:
        worker.stdin.write(json.dumps(asdict(plan)).encode())
        worker.stdin.write_eof()
        release = Release(worker, set())
        async with meanwhile(_listen(release)):
            await release.says(READY)
            yield release
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()


async def _listen(release: Release) -> None:
    assert release.process.stdout is not None
    async for line in release.process.stdout:
        release.said.add(line.decode().strip())


async def main() -> None:
    settings = Settings()
    plan = Plan(**json.load(sys.stdin))
    client = await temporal.connect_when_ready(settings)
    injector = FaultInjector()
    holds = {id_: injector.plan(id_, "gateway.charge", Fault.PARK_AFTER) for id_ in plan.held}
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, _let_go, list(holds.values()))
    worker = payments_worker(
        client,
        database.connect(settings.database_url, pool_size=20),
        gateways.connect(settings),
        interceptors=(injector,),
        version=settings.worker_version,
        grace=gateways.longest_call(settings),
        workflows=CHANGED if plan.changed else PAYMENTS,
    )
    telling = [asyncio.create_task(_tell(id_, held)) for id_, held in holds.items()]
    async with running(worker):
        _say(READY)
        await stop.wait()
        _say(STOPPING)
    for each in telling:
        each.cancel()


def _let_go(held: Sequence[Parked]) -> None:
    for each in held:
        each.release.set()


async def _tell(workflow_id: str, held: Parked) -> None:
    await held.reached.wait()
    _say(workflow_id)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
