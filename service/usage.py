"""Usage events as they come in, over HTTP or Kafka: read, checked and counted."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from domain.errors import Rejected
from domain.usage import Receipt, UsageEvent, check_time, refused
from domain.usage_document import named, read
from store import usage
from store.database import Database


def admit(document: object, late: timedelta) -> UsageEvent:
    """The event that a JSON value holds, if it may be counted now; raises `InvalidRequest`,
    `UsageInFuture` or `UsageTooOld`."""
    event = read(document)
    check_time(event.occurred_at, datetime.now(UTC), late)
    return event


async def take(database: Database, documents: Sequence[object], late: timedelta) -> list[Receipt]:
    """Count what can be counted, in one transaction; a receipt for each document, in order.

    A document that could not even be read is a `Rejected` that says why.
    """
    admitted = [_admitted(document, late) for document in documents]
    events = [each for each in admitted if isinstance(each, UsageEvent)]
    async with database.begin() as tx:
        counted = iter(await usage.ingest(tx, events))
    return [each if isinstance(each, Receipt) else next(counted) for each in admitted]


def _admitted(document: object, late: timedelta) -> UsageEvent | Receipt:
    if isinstance(document, Rejected):
        return refused(None, document)
    try:
        return admit(document, late)
    except Rejected as refusal:
        return refused(named(document), refusal)
