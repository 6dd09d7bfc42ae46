"""`python -m load.scenarios [NAME]`: the load scenarios of `load/k6`, each with what must hold.

Starts a durable stack of its own, an API and a worker as `make dev` does, and lets k6 ask over HTTP
on 127.0.0.1 at the rate that is promised. What does not hold there is tried again with less, until
it holds: the line says both rates, and who worked meanwhile. After each scenario every invariant is
looked at. k6's own results are written to `.data/load`. Exit code 1 when something is short.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cli.dev import report as tell
from cli.words import say
from dev import process, services
from dev.stack import SimulatorOptions, Stack, durable_stack, temporary_directory
from domain.event import TOPICS
from load import invoices
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
Prepare = Callable[[Database], Awaitable[None]]
_SHORT = 99
"""k6's exit code when a threshold was crossed."""


@dataclass(frozen=True)
class Scenario:
    """`rate`: requests a second that must hold, or callers at a time; how fast, says its script."""

    name: str
    rate: int
    unit: str = "/s"


ON_A_NEW_STACK = (Scenario("usage-event-ingest", 500),)
AMONG_INVOICES = (Scenario("invoice-query", 300), Scenario("aged-receivables", 50))
"""Read from the data of `load/invoices.py`."""


@dataclass(frozen=True)
class Outcome:
    """What k6 found at a rate, and how many cores each process had work for."""

    rate: int
    held: bool
    metrics: Mapping[str, Mapping[str, float]]
    cores: Mapping[str, float]

    def words(self) -> str:
        """p50 and p95 of what was done, and who worked."""
        times = self.metrics.get("good_time", {})
        busy = sorted(self.cores.items(), key=lambda each: -each[1])
        work = ", ".join(f"{name} {cores:.2f}" for name, cores in busy if cores >= 0.05)
        p50, p95 = times.get("med", 0), times.get("p(95)", 0)
        good, refused = (int(self.metrics.get(name, {}).get("count", 0)) for name in _COUNTED)
        return f"p50 {p50:.0f} ms\tp95 {p95:.0f} ms\t{good} done, {refused} refused\tcores: {work}"


_COUNTED = ("good", "refused")


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
            Settings().gateway_webhook_secret.get_secret_value(),
        )
        with durable_stack(directory, TOPICS, simulator, ui_port=ui_port, progress=tell) as stack:
            services.prepare(stack, tell)
            if prepare is not None:
                asyncio.run(_as_owner(stack, prepare))
            with services.running(stack, port, services.environment(stack), tell) as ours:
                os.environ.update(stack.endpoints.environment())
                pids = {each.name: each.process.pid for each in (*stack.servers, *ours)}
                return [_hold(each, f"http://127.0.0.1:{port}", pids) for each in scenarios]


async def _as_owner(stack: Stack, prepare: Prepare) -> None:
    began = time.monotonic()
    owner = database.connect(stack.endpoints.database_owner_url, 1, BATCH_SECONDS)
    try:
        await prepare(owner)
    finally:
        await owner.dispose()
    tell("The data are there", time.monotonic() - began)


def _hold(scenario: Scenario, url: str, pids: Mapping[str, int]) -> bool:
    """Find the highest rate that holds, and tell it. Nothing counts before everybody is warm."""
    rate = scenario.rate
    _run(scenario, int(rate * LESS), WARM_UP, "warm", url, pids)
    for attempt in range(TRIES):
        outcome = _run(scenario, rate, SECONDS, f"{attempt}", url, pids)
        word = "ok" if outcome.held and rate == scenario.rate else "short"
        holds = "holds" if outcome.held else "does not hold"
        say(f"{scenario.name}\t{rate}{scenario.unit} {holds}\t{outcome.words()}\t{word}")
        if outcome.held:
            break
        rate = int(rate * LESS)
    asyncio.run(_verify())
    return outcome.held and rate == scenario.rate


def _run(
    scenario: Scenario, rate: int, seconds: int, run: str, url: str, pids: Mapping[str, int]
) -> Outcome:
    results = RESULTS / f"{scenario.name}-{rate}.json"
    settings = {"URL": url, "RATE": rate, "SECONDS": seconds, "RUN": run}
    command = [str(Path(sys.executable).parent / "k6"), "run", "--quiet", "--no-usage-report"]
    command += ["--summary-export", str(results)]
    for name, value in settings.items():
        command += ["--env", f"{name}={value}"]
    before = _worked(pids)
    done = subprocess.run(
        [*command, str(SCRIPTS / f"{scenario.name}.js")], capture_output=True, text=True
    )
    if done.returncode not in (0, _SHORT):
        raise RuntimeError(f"k6 failed: {done.stdout}{done.stderr}")
    worked = {name: ticks - before[name] for name, ticks in _worked(pids).items()}
    cores = {name: ticks / seconds for name, ticks in worked.items()}
    metrics: dict[str, Any] = json.loads(results.read_text())["metrics"]
    return Outcome(rate, done.returncode == 0, metrics, cores)


def _worked(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of each server with its children, of k6, and of everybody else here."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = {name: _cpu(pid) for name, pid in pids.items()} | {"k6": used.ru_utime + used.ru_stime}
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    machine = (user + nice + system) / os.sysconf("SC_CLK_TCK")
    return ours | {"outside": machine - sum(ours.values())}


def _cpu(pid: int) -> float:
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return sum(map(process.cpu_ticks, (pid, *children))) / os.sysconf("SC_CLK_TCK")


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
