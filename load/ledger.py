"""A transfer of the ledger, by our code and by pgbench with the very SQL that our code sends."""

import asyncio
import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from sqlalchemy import event

from dev import postgres
from domain.access import SYSTEM
from domain.ledger import Transaction, transfer
from load.figures import Group
from load.meter import IN_FLIGHT, Meter, Series, Subject
from load.size import Size
from load.system import System
from runtime.settings import Settings
from store import database, ledger
from store.database import Database

OURS = "transfer of the ledger"
PGBENCH = "the same SQL by pgbench"
TIMES = 20
"""So many for each payment of a turn."""
KEY = "{key}"


async def measure(system: System, meter: Meter, size: Size) -> Group:
    """Both with 16 connections and a transaction for each; the rate of pgbench is its own word,
    without the time to connect."""
    pool = database.connect(Settings().database_url, IN_FLIGHT)
    numbers = count()
    times = TIMES * size.together
    script = system.stack.directory / "transfer.sql"
    script.write_text(await _script(pool))

    async def ours(caller: int) -> None:
        await _append(pool, f"ours/{next(numbers)}")

    async def pgbench(caller: int) -> None:
        said.append(await _pgbench(system, script, times))

    said: list[float] = []
    append, floor = Series(OURS), Series(PGBENCH)
    for _ in range(size.rounds):
        await meter.turn(Subject(OURS, ours, times), append)
        await meter.turn(Subject(PGBENCH, pgbench, 1, in_flight=1, of_each=times), floor)
    floor.rates = said
    await pool.dispose()
    group = Group("Ledger")
    group.take(append, floor)
    group.ratio("transfers of the ledger / the same SQL by pgbench", append.rates, said, None)
    return group


async def _append(pool: Database, key: str) -> None:
    entry = Transaction(key, "bench", transfer("bench/a", "bench/b", "KRW", 1000))
    async with pool.begin(SYSTEM) as tx:
        await ledger.append(tx, entry)


async def _script(pool: Database) -> str:
    """What our code sends for a transfer, with another key each time."""
    sent: list[tuple[str, Sequence[object]]] = []

    def note(_1: object, _2: object, sql: str, values: Sequence[object], *_: object) -> None:
        sent.append((sql, values))

    event.listen(pool.engine.sync_engine, "before_cursor_execute", note)
    await _append(pool, KEY)
    event.remove(pool.engine.sync_engine, "before_cursor_execute", note)
    body = "".join(f"{_with_values(sql, values)};\n" for sql, values in sent)
    return f"\\set n random(1, 9000000000000000)\nBEGIN;\n{body}COMMIT;\n"


def _with_values(sql: str, values: Sequence[object]) -> str:
    parts = re.split(r"\$(\d+)", " ".join(sql.split()))
    parts[1::2] = [_literal(values[int(number) - 1]) for number in parts[1::2]]
    return "".join(parts)


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(_literal, value))}]"
    if value == KEY:
        return "'pgbench/' || :n"
    return str(value) if isinstance(value, int) else f"'{value}'"


async def _pgbench(system: System, script: Path, times: int) -> float:
    """Transfers a second."""
    running = await asyncio.create_subprocess_exec(
        postgres.programs() / "pgbench",
        *("--no-vacuum", "--protocol=prepared", f"--client={IN_FLIGHT}", f"--file={script}"),
        f"--transactions={times // IN_FLIGHT}",
        system.stack.endpoints.database_url,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await running.communicate()
    _, found, rate = said.decode().partition("tps = ")
    if running.returncode or not found:
        raise RuntimeError(f"pgbench: {said.decode()}")
    return float(rate.split()[0])
