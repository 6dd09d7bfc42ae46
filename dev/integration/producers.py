"""Two systems that report usage: a marketplace over HTTP, an orchestrator of GPU jobs on Kafka."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from confluent_kafka import Producer

from dev.demo.shop import Shop
from dev.demo.verdict import expect
from domain.event import USAGE
from domain.period import Period

EVENTS = 5
CALLS, HOURS = 3_000, 2
"""Of what each event tells."""


def events(customer_id: str, month: Period, resource: str, quantity: int) -> list[dict[str, Any]]:
    """One event a day, of a resource."""
    begins = month.starts_at("UTC")
    return [
        {
            "eventId": f"{resource}-{day}",
            "customerId": customer_id,
            "resourceType": resource,
            "quantity": quantity,
            "occurredAt": (begins + timedelta(days=day)).isoformat(),
        }
        for day in range(EVENTS)
    ]


async def over_http(service: Shop, reported: Sequence[dict[str, Any]]) -> None:
    """With a token of the service; the last event is sent again, as after a lost answer."""
    outcomes = []
    for event in (*reported, reported[-1]):
        answer = await service.post("/api/v1/usage", event)
        outcomes.append((answer.status_code, answer.json().get("status")))
    accepted, known = (202, "ACCEPTED"), (202, "DUPLICATE")
    expect("the answers to usage", outcomes, [accepted] * len(reported) + [known])


async def on_kafka(brokers: str, reported: Sequence[dict[str, Any]]) -> None:
    """Each event to the topic; the last one again, as after a lost acknowledgement."""
    producer = Producer({"bootstrap.servers": brokers, "acks": "all"})
    for event in (*reported, reported[-1]):
        producer.produce(USAGE, key=event["customerId"], value=json.dumps(event))
    expect("messages without acknowledgement", await asyncio.to_thread(producer.flush), 0)
