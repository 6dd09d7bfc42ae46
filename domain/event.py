"""Events: what leaves through the outbox to Kafka. One topic per event type."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.message import Headers

PARTITIONS = 12
"""Kafka partitions of each topic."""

USAGE = "billing.usage"
"""Where others send usage events to us; no topic of the outbox."""

DLT_SUFFIX = ".DLT"
"""How the name of a topic of dead letters ends, behind that of the topic they come from."""

USAGE_DEAD_LETTERS = f"{USAGE}{DLT_SUFFIX}"
"""The usage that could not be counted, with the reason."""


class Topic(StrEnum):
    ORDER_CREATED = "billing.order.created"
    ORDER_COMPLETED = "billing.order.completed"
    ORDER_FAILED = "billing.order.failed"
    ORDER_STEP = "billing.order.step"
    PAYMENT_COMPLETED = "billing.payment.completed"
    PAYMENT_FAILED = "billing.payment.failed"
    REFUND_COMPLETED = "billing.refund.completed"
    INVOICE_CREATED = "billing.invoice.created"
    INVOICE_PAID = "billing.invoice.paid"
    INVOICE_OVERDUE = "billing.invoice.overdue"
    OVERDUE_NOTICE = "billing.overdue.notice"
    OVERDUE_NOTICE_DLT = "billing.overdue.notice.DLT"
    SETTLEMENT_COMPLETED = "billing.settlement.completed"
    AUDIT_SEALED = "billing.audit.sealed"


TOPICS = (*Topic, USAGE, USAGE_DEAD_LETTERS)
"""Every topic there is."""

JSON = str | int | bool | None | list["JSON"] | Mapping[str, "JSON"]


@dataclass(frozen=True)
class Origin:
    """The API request that set things going; travels with every event that follows from it."""

    idempotency_key: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Event:
    """A fact about one aggregate. The outbox gives it its version and time, and an id where it has
    none of its own."""

    topic: Topic
    aggregate_id: str
    customer_id: str
    data: Mapping[str, JSON]
    origin: Origin
    id: str | None = None


@dataclass(frozen=True)
class RawMessage:
    """A message that leaves as it is, in its very bytes, instead of one made of an event."""

    key: bytes | None
    headers: Headers
    value: bytes | None


@dataclass(frozen=True)
class OutboxEvent:
    """An event as the outbox keeps it. `topic` is what was written, whatever topics there are now.

    `refused_at`: the broker does not take it, or one before it of its topic and aggregate, see
    `refusal`; it is passed over until somebody tries it again. `raw` is sent in place of what the
    rest would make: a dead letter that is replayed, whose aggregate is the letter.
    """

    id: int
    topic: str
    event_id: str
    aggregate_id: str
    aggregate_version: int
    customer_id: str
    data: Mapping[str, JSON]
    idempotency_key: str | None
    traceparent: str | None
    occurred_at: datetime
    published_at: datetime | None
    refused_at: datetime | None
    refusal: str | None
    raw: RawMessage | None = None


@dataclass(frozen=True)
class UnpublishedEvent:
    """One that waits. `behind`: an earlier event of the same topic and aggregate was refused."""

    event: OutboxEvent
    behind: bool
