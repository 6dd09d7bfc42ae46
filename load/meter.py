"""Measuring: operations take turns, so that what else the machine does falls on all of them alike.

What is told of each turn: its rate, how long one takes alone, the CPU of every process, how much of
the machine was busy, and how much of that with what is none of ours.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dev import process
from dev.process import Server

IN_FLIGHT = 16
CLIENT = "client"
Call = Callable[[int], Awaitable[None]]
"""One operation, of the caller with this number: no caller has two in flight."""


@dataclass(frozen=True)
class Subject:
    """An operation that is measured: in each turn `alone` times one after the other, then
    `together` times with `in_flight` at once."""

    name: str
    call: Call
    together: int
    alone: int = 0
    in_flight: int = IN_FLIGHT
    of_each: int = 1
    """What one call counts for."""


@dataclass
class Series:
    """The turns of one subject. Times and CPU in milliseconds, CPU of one operation at `in_flight`;
    `busy` and `others` in cores."""

    name: str
    rates: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    @property
    def cpu_totals(self) -> list[float]:
        return [sum(each.values()) for each in self.cpu]

    def cpu_medians(self) -> dict[str, float]:
        """By process, those that matter, the greatest first."""
        names = self.cpu[0].keys()
        medians = {name: statistics.median(each[name] for each in self.cpu) for name in names}
        return dict(sorted(medians.items(), key=lambda item: -item[1]))


class Meter:
    """Watches these processes, and this one."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._pids = {each.name: each.process.pid for each in servers} | {CLIENT: os.getpid()}

    async def compare(self, subjects: Sequence[Subject], rounds: int) -> dict[str, Series]:
        """Let the subjects take turns, after a first one that does not count."""
        series = {each.name: Series(each.name) for each in subjects}
        for each in subjects:
            await together(each.call, max(each.together // 4, each.in_flight), each.in_flight)
        for _ in range(rounds):
            for each in subjects:
                await self.turn(each, series[each.name])
        return series

    async def turn(self, subject: Subject, series: Series) -> None:
        """Measure a subject once."""
        if subject.alone:
            times = sorted([await _timed(subject.call) for _ in range(subject.alone)])
            series.alone.append(statistics.median(times))
            series.p95.append(times[int(len(times) * 0.95)])
        async with self.used() as used:
            await together(subject.call, subject.together, subject.in_flight)
        operations = subject.together * subject.of_each
        series.rates.append(operations / used.seconds)
        series.cpu.append({name: 1000 * each / operations for name, each in used.cpu.items()})
        series.busy.append(used.busy)
        series.others.append(used.others)

    def used(self) -> "Used":
        """What is used in the length of the block."""
        return Used(self._pids)


class Used:
    """Seconds and CPU seconds of a block; `busy` and `others` in cores."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids

    async def __aenter__(self) -> "Used":
        self._cpu, self._busy, self._began = self._worked(), _busy(), time.perf_counter()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self.cpu = {name: now - self._cpu[name] for name, now in self._worked().items()}
        self.busy = (_busy() - self._busy) / self.seconds
        self.others = max(self.busy - sum(self.cpu.values()) / self.seconds, 0)

    def _worked(self) -> dict[str, float]:
        """PostgreSQL's with its children's: whoever of them has ended counts in their parent."""
        pids = {name: [pid] for name, pid in self._pids.items()}
        pids["PostgreSQL"] += process.children(self._pids["PostgreSQL"])
        return {name: sum(map(process.cpu_ticks, each)) / _TICKS for name, each in pids.items()}


def rss(pid: int) -> float:
    """The memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def together(call: Call, count: int, in_flight: int) -> None:
    """So many operations, never more than `in_flight` at once."""
    left = iter(range(count))

    async def one_after_the_other(caller: int) -> None:
        for _ in left:
            await call(caller)

    await asyncio.gather(*(one_after_the_other(caller) for caller in range(in_flight)))


async def _timed(call: Call) -> float:
    began = time.perf_counter()
    await call(0)
    return (time.perf_counter() - began) * 1000


_TICKS = os.sysconf("SC_CLK_TCK")


def _busy() -> float:
    """CPU seconds of the whole machine that were not idle."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / _TICKS
