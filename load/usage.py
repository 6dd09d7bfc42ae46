"""Usage over HTTP, an event and a thousand at a time, beside their floors."""

from collections import deque
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import asyncpg
import orjson

from domain.usage import MAX_BATCH
from load.connection import Connection
from load.figures import Group
from load.meter import IN_FLIGHT, Meter, Subject
from load.size import Size
from load.system import System

EVENT = "usage event"
ECHO = "echo of the same event"
BATCH = "usage, 1,000 events a request"
COPY = "COPY of 1,000 rows into the same table"
CUSTOMER = "acme-corp"
SINGLES = 20
"""So many times as many events as payments in a turn."""
BATCHES = 12
AT_ONCE = 2
_COLUMNS = ("customer_id", "event_id", "resource_type", "quantity", "occurred_at")


async def measure(system: System, meter: Meter, size: Size) -> Group:
    """Events a second; what is sent is made before it is measured."""
    ours = [Connection(system.api_port) for _ in range(IN_FLIGHT)]
    floor = [Connection(system.floor_port) for _ in range(IN_FLIGHT)]
    copying = [await asyncpg.connect(system.superuser_url) for _ in range(AT_ONCE)]
    batches = deque(
        orjson.dumps({"events": [document() for _ in range(MAX_BATCH)]})
        for _ in range((size.rounds + 1) * (BATCHES + AT_ONCE))
    )
    rows = [_row() for _ in range(MAX_BATCH)]

    async def single(caller: int) -> None:
        await ours[caller].send("POST", "/api/v1/usage", orjson.dumps(document()), expect=202)

    async def echo(caller: int) -> None:
        await floor[caller].send("POST", "/echo/usage", orjson.dumps(document()), expect=202)

    async def batch(caller: int) -> None:
        sent = batches.pop()
        answer = await ours[caller].send("POST", "/api/v1/usage/batch", sent, expect=202)
        if answer.count(b"ACCEPTED") != MAX_BATCH:
            raise RuntimeError("not every event was accepted")

    async def copy(caller: int) -> None:
        # Event ids come again and again: what keeps them apart is another table.
        await copying[caller].copy_records_to_table("usage_events", records=rows, columns=_COLUMNS)

    singles = size.together * SINGLES
    found = await meter.compare(
        [
            Subject(EVENT, single, singles, size.alone),
            Subject(ECHO, echo, singles, size.alone),
            Subject(BATCH, batch, BATCHES, in_flight=AT_ONCE, of_each=MAX_BATCH),
            Subject(COPY, copy, BATCHES, in_flight=AT_ONCE, of_each=MAX_BATCH),
        ],
        size.rounds,
    )
    for connection in copying:
        await connection.close()
    group = Group("Usage")
    group.take(*found.values())
    rates = {name: series.rates for name, series in found.items()}
    group.ratio("usage, an event a request / echo of it", rates[EVENT], rates[ECHO], 0.75)
    group.ratio("usage, 1,000 a request / COPY", rates[BATCH], rates[COPY], 0.4)
    return group


def document() -> dict[str, object]:
    """An event that nobody has reported yet."""
    return {
        "eventId": str(uuid4()),
        "customerId": CUSTOMER,
        "resourceType": "API_CALL",
        "quantity": 1.5,
        "occurredAt": datetime.now(UTC).isoformat(),
    }


def _row() -> tuple[object, ...]:
    return CUSTOMER, str(uuid4()), "API_CALL", Decimal("1.5"), datetime.now(UTC)
