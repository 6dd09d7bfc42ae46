"""`make bench` and `make bench-quick`: each figure beside its floor, in one run, on a fresh stack.

A line for each figure: name, value, goal, `ok` or `short`, with tabs between. `--keep` writes what
a run has found to docs/benchmarks.json and on the page beside it.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import uvloop

from dev import process
from dev.alive import signs_of_life
from load import growth, idle, ledger, payments, report, settlement, system, tokens, usage
from load.figures import Group
from load.meter import Meter
from load.size import FULL, QUICK, Size
from load.system import System

GROUPS = {
    "idle": idle.measure,
    "payments": payments.measure,
    "usage": usage.measure,
    "tokens": tokens.measure,
    "settlement": settlement.measure,
    "ledger": ledger.measure,
    "growth": growth.measure,
    "long": settlement.measure_long,
}
QUICKLY = ("idle", "payments", "usage", "settlement")


def main() -> None:
    """Measure and tell; what a whole run has found is kept."""
    parser = argparse.ArgumentParser(prog="python -m load.bench")
    parser.add_argument("--quick", action="store_true", help="a few turns, in three minutes")
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="a part of it")
    parser.add_argument("--keep", action="store_true", help="into docs/benchmarks.json")
    asked = parser.parse_args()
    load_before = os.getloadavg()[0]
    names = asked.only or (QUICKLY if asked.quick else [*GROUPS])
    process.leave_in_order()
    size = QUICK if asked.quick else FULL
    with signs_of_life(), system.running() as running:
        groups = uvloop.run(_measure(running, size, names))
    if asked.keep:
        report.write(groups, size, load_before)


async def _measure(running: System, size: Size, names: Sequence[str]) -> list[Group]:
    meter = Meter(running.servers)
    groups = []
    for name in names:
        groups.append(await GROUPS[name](running, meter, size))
        _tell(groups[-1])
    return groups


def _tell(group: Group) -> None:
    lines = [*(figure.line() for figure in group.figures), *group.notes]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
