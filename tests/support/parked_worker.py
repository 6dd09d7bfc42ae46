"""A worker process that stops where it is told to, until it is killed or let go (SIGUSR1).

    python -m tests.support.parked_worker < plan.json

The plan names a namespace and, for each workflow, the step at which to park and whether before or
after its effect. A line with the workflow's id is written when it is parked there.
"""

import asyncio
import json
import signal
import sys
from dataclasses import asdict, dataclass

from runtime import gateways, temporal
from runtime.settings import Settings
from runtime.workers import payments_worker, running
from store import database
from tests.support.faults import Fault, FaultInjector, Parked


@dataclass(frozen=True)
class Stop:
    """Where one workflow is parked."""

    workflow_id: str
    step: str
    after_its_effect: bool

    @property
    def fault(self) -> Fault:
        return Fault.PARK_AFTER if self.after_its_effect else Fault.PARK_BEFORE


def as_plan(stops: list[Stop]) -> bytes:
    """What the process reads from its standard input."""
    return json.dumps([asdict(stop) for stop in stops]).encode()


async def main() -> None:
    settings = Settings()
    client = await temporal.connect_when_ready(settings)
    pool = database.connect(settings.database_url, pool_size=20)
    injector = FaultInjector()
    stops = [Stop(**stop) for stop in json.load(sys.stdin)]
    parked = [injector.plan(stop.workflow_id, stop.step, stop.fault) for stop in stops]
    worker = payments_worker(client, pool, gateways.connect(settings), interceptors=(injector,))
    let_go = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, let_go.set)
    async with running(worker):
        await asyncio.gather(*map(_tell, stops, parked))
        await let_go.wait()
        for each in parked:
            each.release.set()
        await asyncio.Event().wait()


async def _tell(stop: Stop, parked: Parked) -> None:
    await parked.reached.wait()
    sys.stdout.write(f"{stop.workflow_id}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
