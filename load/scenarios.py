"""`python -m load.scenarios [NAME]`: the load scenarios of `load/k6`, each with what must hold.

Starts a durable stack of its own, an API and a worker as `make dev` does, and lets k6 ask over HTTP
on 127.0.0.1 at the rate that is promised. What does not hold there is tried again with less, until
it holds: the lines say what held, and how many cores each process used; `outside` is nothing of
ours. Then twice as much as can be done is asked for: as much must be done as before, and the rest
refused at once. After each scenario what was taken must be there, and every invariant hold. k6's
own results are written to `.data/load`. Exit code 1 when something is short. Takes ten minutes.
"""

import asyncio
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from cli.dev import report as tell
from cli.words import say
from dev import process, services
from dev.process import Server
from dev.stack import SimulatorOptions, Stack, durable_stack, temporary_directory
from domain.access import SYSTEM
from domain.event import TOPICS
from load import invoices, unsettled
from runtime import gateways
from runtime.desk import connected
from runtime.settings import Settings
from service.verification import Sources, patience, verify
from store import database
from store.database import BATCH_SECONDS, Database

SCRIPTS = Path(__file__).parent / "k6"
RESULTS = Path(".data/load")
SECONDS = 15
WARM_UP = 3
LESS = 0.7
"""What does not hold is tried again with so much of it."""
TRIES = 6
GOODPUT = 0.9
"""How much of the best must be done while twice as much is asked for."""
LOOK_SECONDS = 0.1
_SHORT = 99
"""k6's exit code when a threshold was crossed."""

Prepare = Callable[[Database], Awaitable[None]]

_USAGE = "SELECT count(*) FROM usage_events WHERE event_id LIKE :keys"
_PAID = "SELECT count(*) FROM payments WHERE idempotency_key LIKE :keys AND status = 'COMPLETED'"
_ISSUED = """
SELECT count(DISTINCT customer_id) FROM invoices
WHERE 'load-' || substr(customer_id, 7) LIKE :keys AND number IS NOT NULL
"""
_LOCKS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@dataclass(frozen=True)
class Scenario:
    """`rate`: requests a second that must hold, or callers at a time; how fast, says its script.
    None: whatever can be done, and then twice as much. `taken` counts what is there of a run."""

    name: str
    rate: int | None
    unit: str = "/s"
    taken: str | None = None
    time: str = "good_time"
    prepare: Callable[[Database, str], Awaitable[None]] | None = None


ON_A_NEW_STACK = (
    Scenario("usage-event-ingest", 500, taken=_USAGE),
    Scenario("payment-charge", 100, taken=_PAID, time="replay_time"),
    Scenario("invoice-issue", 100, " callers", taken=_ISSUED, prepare=unsettled.put),
    Scenario("overload-payments", None, taken=_PAID),
)
AMONG_INVOICES = (
    Scenario("invoice-query", 300),
    Scenario("aged-receivables", 50),
    Scenario("overload-reads", None, taken=_PAID),
)
"""Read from the data of `load/invoices.py`."""


@dataclass(frozen=True)
class Outcome:
    """What k6 found, how many cores each process had work for, and how many sessions waited for a
    lock, at each look."""

    held: bool
    metrics: Mapping[str, Mapping[str, float]]
    cores: Mapping[str, float]
    waiting: Sequence[int]

    def count(self, name: str) -> int:
        return int(self.metrics.get(name, {}).get("count", 0))

    def words(self, trend: str) -> str:
        """How long it took, how much was done, and who worked."""
        times = self.metrics.get(trend, {})
        busy = sorted(self.cores.items(), key=lambda each: -each[1])
        work = ", ".join(f"{name} {cores:.2f}" for name, cores in busy if cores >= 0.05)
        parts = [
            f"p50 {times.get('med', 0):.0f} ms, p95 {times.get('p(95)', 0):.0f} ms",
            f"{self.count('good')} done, {self.count('refused')} refused",
            f"cores: {work}",
        ]
        if any(self.waiting):
            mean, most = statistics.mean(self.waiting), max(self.waiting)
            parts.append(f"waiting for locks: {mean:.1f}, at most {most}")
        return "\t".join(parts)


def main(names: Sequence[str]) -> int:
    """Run those that are named, or all; returns the exit code."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    held = []
    for scenarios, prepare in ((ON_A_NEW_STACK, None), (AMONG_INVOICES, invoices.put)):
        if wanted := [each for each in scenarios if not names or each.name in names]:
            held += _on_a_stack(wanted, prepare)
    return 0 if all(held) else 1


def _on_a_stack(scenarios: Sequence[Scenario], prepare: Prepare | None) -> list[bool]:
    """Run them one after the other; returns which held."""
    with temporary_directory() as directory:
        port, ui_port = process.free_port(), process.free_port()
        simulator = SimulatorOptions(
            f"http://127.0.0.1:{port}/webhooks/gateway/simulator",
            Settings().gateway_webhook_secrets[0],
        )
        with durable_stack(directory, TOPICS, simulator, ui_port=ui_port, progress=tell) as stack:
            services.prepare(stack, tell)
            if prepare is not None:
                asyncio.run(_as_owner(stack, prepare))
            with services.running(stack, port, services.environment(stack), tell) as ours:
                os.environ.update(stack.endpoints.environment())
                return asyncio.run(_all(scenarios, port, [*stack.servers, *ours]))


async def _as_owner(stack: Stack, prepare: Prepare) -> None:
    began = time.monotonic()
    owner = database.connect(stack.endpoints.database_owner_url, 1, BATCH_SECONDS)
    try:
        await prepare(owner)
    finally:
        await owner.dispose()
    tell("The data are there", time.monotonic() - began)


async def _all(scenarios: Sequence[Scenario], port: int, servers: Sequence[Server]) -> list[bool]:
    ours = database.connect(Settings().database_url, 2, BATCH_SECONDS)
    try:
        caller = Caller(ours, f"http://127.0.0.1:{port}", servers)
        return [
            await (_overload(each, caller) if each.rate is None else _hold(each, each.rate, caller))
            for each in scenarios
        ]
    finally:
        await ours.dispose()


async def _hold(scenario: Scenario, wanted: int, caller: "Caller") -> bool:
    """Find the highest rate that holds, and tell it. Nothing counts before everybody is warm."""
    await caller.run(scenario, int(wanted * LESS), WARM_UP)
    rate, outcome = wanted, await caller.run(scenario, wanted)
    for _ in range(TRIES):
        _say(scenario, f"{rate}{scenario.unit}", outcome, outcome.held and rate == wanted)
        if outcome.held:
            break
        rate = int(rate * LESS)
        outcome = await caller.run(scenario, rate)
    await _verify()
    return outcome.held and rate == wanted


async def _overload(scenario: Scenario, caller: "Caller") -> bool:
    """Find how much can be done, ask for twice as much, and look again how much can be done: a
    machine that others use as well is faster and slower."""
    await caller.run(scenario, None, WARM_UP)
    before = await caller.run(scenario, None)
    rate = before.count("good") // SECONDS
    _say(scenario, f"{rate}/s at best", before, before.held)
    outcome = await caller.run(scenario, 2 * rate)
    after = await caller.run(scenario, None)
    _say(scenario, f"{after.count('good') // SECONDS}/s at best again", after, after.held)
    part = outcome.count("good") / statistics.mean(each.count("good") for each in (before, after))
    slowest = outcome.metrics.get("refusal_time", {}).get("max", 0)
    what = f"{2 * rate}/s asked for: {part:.2f} of the best, slowest refusal {slowest:.0f} ms"
    _say(scenario, what, outcome, outcome.held and part >= GOODPUT)
    await _verify()
    return outcome.held and part >= GOODPUT


def _say(scenario: Scenario, what: str, outcome: Outcome, is_enough: bool) -> None:
    word = "ok" if is_enough else "short"
    holds = "holds" if outcome.held else "does not hold"
    say(f"{scenario.name}\t{what} {holds}\t{outcome.words(scenario.time)}\t{word}")


class Caller:
    """Runs k6, and looks meanwhile at what the machine does."""

    def __init__(self, database: Database, url: str, servers: Sequence[Server]) -> None:
        self._database = database
        self._url = url
        self._pids = {each.name: each.process.pid for each in servers}
        self._runs = 0

    async def run(self, scenario: Scenario, rate: int | None, seconds: int = SECONDS) -> Outcome:
        """Raises `RuntimeError` when k6 fails, or something that was taken is not there."""
        self._runs += 1
        run = f"r{self._runs}"
        if scenario.prepare is not None:
            await scenario.prepare(self._database, run)
        results = RESULTS / f"{scenario.name}-{rate or 'best'}.json"
        settings = {"URL": self._url, "RATE": rate or "", "SECONDS": seconds, "RUN": run}
        command = [str(Path(sys.executable).parent / "k6"), "run", "--quiet", "--no-usage-report"]
        command += ["--summary-export", str(results)]
        command += [part for name in settings for part in ("--env", f"{name}={settings[name]}")]
        began, before, waiting = time.monotonic(), self._worked(), list[int]()
        looking = asyncio.create_task(self._look(waiting))
        code = await _run([*command, str(SCRIPTS / f"{scenario.name}.js")])
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        took = time.monotonic() - began
        cores = {name: (now - before[name]) / took for name, now in self._worked().items()}
        metrics: dict[str, Any] = json.loads(results.read_text())["metrics"]
        outcome = Outcome(code == 0, metrics, cores, waiting)
        if scenario.taken is not None:
            await self._require(scenario.taken, run, outcome.count("accepted"))
        return outcome

    async def _require(self, taken: str, run: str, count: int) -> None:
        """What was taken ends as it must, sooner or later; as long as there is more each second it
        may take its time."""
        found, before = await self._count(taken, keys=f"load-{run}-%"), -1
        since = time.monotonic()
        while found < count:
            if found > before:
                before, since = found, time.monotonic()
            elif time.monotonic() - since > process.PATIENCE_SECONDS:
                raise RuntimeError(f"{count} were taken, and {found} are there")
            await asyncio.sleep(LOOK_SECONDS)
            found = await self._count(taken, keys=f"load-{run}-%")

    async def _look(self, waiting: list[int]) -> None:
        while True:
            waiting.append(await self._count(_LOCKS))
            await asyncio.sleep(LOOK_SECONDS)

    async def _count(self, query: str, **values: str) -> int:
        async with self._database.statements(SYSTEM) as tx:
            return int(await tx.scalar(text(query), values) or 0)

    def _worked(self) -> dict[str, float]:
        """CPU seconds of each server with its children, of k6, and of everybody else here."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = {name: _cpu(pid) for name, pid in self._pids.items()}
        ours["k6"] = used.ru_utime + used.ru_stime
        user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
        machine = (user + nice + system) / os.sysconf("SC_CLK_TCK")
        return ours | {"outside": machine - sum(ours.values())}


async def _run(command: Sequence[str]) -> int:
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, err = await started.communicate()
    if started.returncode not in (0, _SHORT):
        raise RuntimeError(f"k6 failed: {out.decode()}{err.decode()}")
    return started.returncode


def _cpu(pid: int) -> float:
    return sum(map(process.cpu_ticks, (pid, *process.children(pid)))) / os.sysconf("SC_CLK_TCK")


async def _verify() -> None:
    """Raises `RuntimeError` when anything disagrees."""
    settings = Settings()
    desk = await connected(settings, pool_size=1, wait_seconds=30, statement_seconds=BATCH_SECONDS)
    try:
        sweeps = patience(timedelta(seconds=settings.sweep_seconds))
        books = gateways.books(settings)
        found = await verify(Sources(desk.database, desk.temporal, books, sweeps))
    finally:
        await desk.database.dispose()
    if wrong := [each for each in found.findings if each.violations]:
        raise RuntimeError(f"it does not agree any more: {wrong}")
    say(f"  all {len(found.findings)} invariants hold")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
