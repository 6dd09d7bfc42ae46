"""Follows `billing.order.completed` and keeps the ranking of SKUs.

At least once from Kafka, exactly once in effect: the event's id goes into the inbox in the
transaction that counts it, and the offset is committed after that.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from uuid import UUID

from domain.access import SYSTEM
from domain.errors import InvalidRequest
from domain.event import Topic
from domain.message import Message, Refused, refused
from domain.ranking import CONSUMER, read, sold
from domain.strict_json import exact, parse
from runtime.consumer import follow_until, only
from store import change, inbox, ranking
from store.database import Database

TOPIC = Topic.ORDER_COMPLETED


async def consume_until(stop: asyncio.Event, database: Database, kafka: Mapping[str, str]) -> None:
    """Consume until told to stop."""
    counting = partial(take, database)
    await follow_until(stop, database, kafka, CONSUMER, only(TOPIC), counting)


async def take(database: Database, messages: Sequence[Message]) -> list[Refused]:
    """Count those events that were not counted before, in one transaction; returns the messages
    that are none."""
    orders: list[tuple[str, dict[str, int]]] = []
    wrong: list[Refused] = []
    for message in messages:
        try:
            orders.append((_event_id(message), read(parse(message.value or b"", exact))))
        except InvalidRequest as refusal:
            wrong.append(refused(message, refusal))
    counted = ranking.counting(sold([pieces for _, pieces in orders]))
    taken = inbox.taking(CONSUMER, [id_ for id_, _ in orders])
    if await change.at_once(database, SYSTEM, taken, counted):
        return wrong
    async with database.begin(SYSTEM) as tx:
        new = [pieces for id_, pieces in orders if await inbox.take(tx, CONSUMER, id_)]
        await ranking.count(tx, sold(new))
    return wrong


def _event_id(message: Message) -> str:
    """Raises `InvalidRequest` unless the message bears one."""
    ids = [value for name, value in message.headers if name == "ce_id"]
    if len(ids) != 1:
        raise InvalidRequest(f"The message has {len(ids)} headers ce_id instead of one.")
    try:
        return str(UUID((ids[0] or b"").decode()))
    except ValueError as error:
        raise InvalidRequest("ce_id: is no UUID.") from error
