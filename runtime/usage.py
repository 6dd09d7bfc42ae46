"""Usage events as they come in, over HTTP or Kafka: read, checked and counted."""

from collections.abc import Sequence
from datetime import timedelta

from domain.errors import Rejected
from domain.usage import Receipt, UsageEvent, refused, untimely
from domain.usage_document import named, read
from store import clock, usage
from store.database import Database, Transaction


async def take(database: Database, documents: Sequence[object], late: timedelta) -> list[Receipt]:
    """Count what can be counted, in one transaction; a receipt for each document, in order.

    A document that could not even be read is a `Rejected` that says why.
    """
    found = [_read(document) for document in documents]
    async with database.begin() as tx:
        events = [each for each in found if isinstance(each, UsageEvent)]
        counted = iter(await count(tx, events, late))
    return [each if isinstance(each, Receipt) else next(counted) for each in found]


async def count(tx: Transaction, events: Sequence[UsageEvent], late: timedelta) -> list[Receipt]:
    """Count those whose time it is; a receipt for each, in order."""
    now = await clock.now(tx)
    refusals = [untimely(each, now, late) for each in events]
    timely = [each for each, refusal in zip(events, refusals, strict=True) if refusal is None]
    counted = iter(await usage.ingest(tx, timely))
    return [refusal or next(counted) for refusal in refusals]


def _read(document: object) -> UsageEvent | Receipt:
    if isinstance(document, Rejected):
        return refused(None, document)
    try:
        return read(document)
    except Rejected as refusal:
        return refused(named(document), refusal)
