"""The system when nobody wants anything, and how soon an event is in Kafka."""

import asyncio
import time
from uuid import uuid4

from sqlalchemy import text

from domain.access import SYSTEM
from domain.event import Event, Origin, Topic
from load.figures import Figure, Group
from load.meter import Meter
from load.size import Size
from load.system import System
from runtime.settings import Settings
from store import database, outbox
from store.database import Database

A_SECOND = 200
_LAST = text("SELECT coalesce(max(id), 0) FROM outbox")
_WAITING = text("SELECT count(*) FROM outbox WHERE id > :last AND published_at IS NULL")
_DELAYS = text("""
SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
    ORDER BY 1000 * EXTRACT(epoch FROM published_at - occurred_at)
) FROM outbox WHERE id > :last
""")


async def measure(system: System, meter: Meter, size: Size) -> Group:
    """Cores of everything that is ours; milliseconds from an event's transaction to the mark that
    Kafka has it."""
    group = Group("Idle, and events")
    async with meter.used() as used:
        await asyncio.sleep(size.seconds)
    cores = {name: each / used.seconds for name, each in used.cpu.items() if name in system.ours}
    group.figures.append(Figure("idle stack, cores", sum(cores.values()), 0.10, at_most=True))
    parts = sorted(cores.items(), key=lambda item: -item[1])
    group.notes.append("idle, cores: " + ", ".join(f"{name} {each:.3f}" for name, each in parts))
    pool = database.connect(Settings().database_url, pool_size=8)
    try:
        p50, p95, p99 = await _published(pool, size.seconds)
    finally:
        await pool.dispose()
    name = f"published after commit at {A_SECOND} events/s, p99"
    group.figures.append(Figure(name, p99, 200, at_most=True, unit=" ms"))
    group.notes.append(f"published after commit: p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms")
    return group


async def _published(pool: Database, seconds: int) -> list[float]:
    async with pool.read(SYSTEM) as tx:
        last = {"last": await tx.scalar(_LAST)}
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(A_SECOND * seconds):
            await asyncio.sleep(max(began + number / A_SECOND - time.monotonic(), 0))
            group.create_task(_append(pool))
    async with pool.statements(SYSTEM) as tx:
        while True:
            if not await tx.scalar(_WAITING, last):
                delays: list[float] = await tx.scalar(_DELAYS, last)
                return delays
            await asyncio.sleep(0.1)


async def _append(pool: Database) -> None:
    order = str(uuid4())
    event = Event(Topic.ORDER_CREATED, order, "demo", {"orderId": order}, Origin())
    async with pool.begin(SYSTEM) as tx:
        await outbox.append(tx, event)
