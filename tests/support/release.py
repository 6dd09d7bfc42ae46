"""A worker process of one release, which may have other code than ours.

    python -m tests.support.release < plan.json

Of payments that the plan names the gateway has made the charge, and its answer is on its way: after
SIGUSR1 for as long as a gateway may take. The process writes a line when it is ready, the id of
each payment whose answer is on its way, a line when it has been told to stop (SIGTERM), and one
when it has nothing left to do.
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
from domain.gateway import GatewayAnswer, GatewayRequest
from gateway.client import PaymentGateway
from runtime import gateways, temporal
from runtime.settings import Settings
from runtime.workers import PAYMENTS, payments_worker, running, version_of
from store import database
from tests.support.conditions import eventually, meanwhile
from tests.workflows.planted import PayLater
from workflows.refund_saga import RefundSaga

READY, STOPPING, STOPPED = "ready", "stopping", "stopped"
CHANGED = (PayLater, RefundSaga)
"""The workflows of a release that cannot go on with what ours has begun, nor ours with its."""


@dataclass(frozen=True)
class Plan:
    """`changed`: whether it has a step more than ours; `held`: ids of payments."""

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

    async def stopped(self) -> None:
        """All that it had begun has ended. How the interpreter ends is the SDK's affair: it aborts
        now and then."""
        await self.says(STOPPED)

    async def says(self, line: str) -> None:
        async def has_said() -> bool:
            ended = self.process.stdout is None or self.process.stdout.at_eof()
            assert line in self.said or not ended, f"it has ended without a word of {line}"
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


@dataclass(frozen=True)
class Slow:
    """A gateway whose answers come when they may."""

    gateway: PaymentGateway
    held: frozenset[str]
    let_go: asyncio.Event
    seconds: float

    async def send(self, request: GatewayRequest) -> GatewayAnswer:
        answer = await self.gateway.send(request)
        if request.payment_id in self.held:
            _say(request.payment_id)
            await self.let_go.wait()
            await asyncio.sleep(self.seconds)
        return answer

    async def inquire(self, request: GatewayRequest) -> GatewayAnswer:
        return await self.gateway.inquire(request)

    async def close(self) -> None:
        await self.gateway.close()


async def main() -> None:
    settings = Settings()
    plan = Plan(**json.load(sys.stdin))
    client = await temporal.connect_when_ready(settings)
    stop, let_go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, let_go.set)
    held, longest = frozenset(plan.held), settings.gateway_read_timeout_seconds
    connected = gateways.connect(settings)
    worker = payments_worker(
        client,
        database.connect(settings.database_url, pool_size=20),
        {name: Slow(each, held, let_go, longest) for name, each in connected.items()},
        version=version_of(settings),
        grace=gateways.longest_call(settings),
        workflows=CHANGED if plan.changed else PAYMENTS,
    )
    async with running(worker):
        _say(READY)
        await stop.wait()
        _say(STOPPING)
    _say(STOPPED)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
