"""Who did what: entries of the audit trail, and the chain of seals that shows when one was changed.

An entry is appended in the transaction of what it tells of. Seals are computed behind that path: a
chain inside it would make everybody wait for one row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.access import NOWHERE, Access, Role, Source
from domain.event import JSON


class ActorType(StrEnum):
    USER = "USER"
    """A customer, for itself."""
    OPERATOR = "OPERATOR"
    SERVICE = "SERVICE"
    """A program of whoever runs the installation."""
    SYSTEM = "SYSTEM"
    """A workflow of ours: its id is the actor's."""
    EXTERNAL = "EXTERNAL"
    """A program of somebody else, such as a PG."""


class Action(StrEnum):
    """What was done, in the past tense. A name is never changed: it stands in sealed entries."""

    PLAN_VERSION_ADDED = "PLAN_VERSION_ADDED"
    PLAN_WITHDRAWN = "PLAN_WITHDRAWN"
    CUSTOMER_CREATED = "CUSTOMER_CREATED"
    CUSTOMER_CHANGED = "CUSTOMER_CHANGED"
    PLAN_ASSIGNED = "PLAN_ASSIGNED"
    PAYMENT_METHOD_ADDED = "PAYMENT_METHOD_ADDED"
    COUPON_CREATED = "COUPON_CREATED"
    COUPON_CHANGED = "COUPON_CHANGED"
    COUPON_CLAIMED = "COUPON_CLAIMED"
    STOCK_CREATED = "STOCK_CREATED"
    STOCK_CHANGED = "STOCK_CHANGED"
    STOCK_RESOLVED = "STOCK_RESOLVED"
    ORDER_CREATED = "ORDER_CREATED"
    PAYMENT_CREATED = "PAYMENT_CREATED"
    PAYMENT_CANCEL_REQUESTED = "PAYMENT_CANCEL_REQUESTED"
    PAYMENT_RESOLVED = "PAYMENT_RESOLVED"
    REFUND_CREATED = "REFUND_CREATED"
    REFUND_RESOLVED = "REFUND_RESOLVED"
    TOP_UP_CREATED = "TOP_UP_CREATED"
    TOP_UP_BOOKED = "TOP_UP_BOOKED"
    USAGE_VOIDED = "USAGE_VOIDED"
    SETTLEMENT_STARTED = "SETTLEMENT_STARTED"
    SETTLEMENT_RUN_STARTED = "SETTLEMENT_RUN_STARTED"
    SETTLEMENT_RUN_REPLAYED = "SETTLEMENT_RUN_REPLAYED"
    INVOICE_ISSUED = "INVOICE_ISSUED"
    INVOICE_APPROVED = "INVOICE_APPROVED"
    INVOICE_REJECTED = "INVOICE_REJECTED"
    INVOICE_PAY_REQUESTED = "INVOICE_PAY_REQUESTED"
    INVOICE_PAID = "INVOICE_PAID"
    """There was nothing to pay."""
    INVOICE_PAID_OUTSIDE = "INVOICE_PAID_OUTSIDE"
    INVOICE_WRITTEN_OFF = "INVOICE_WRITTEN_OFF"
    INVOICE_CANCELLED = "INVOICE_CANCELLED"
    INVOICE_GIVEN_UP = "INVOICE_GIVEN_UP"
    DEAD_LETTER_RESOLVED = "DEAD_LETTER_RESOLVED"
    EVENTS_REPUBLISHED = "EVENTS_REPUBLISHED"
    RANKING_REBUILT = "RANKING_REBUILT"
    DATA_VIEWED = "DATA_VIEWED"
    DATA_EXPORTED = "DATA_EXPORTED"


class Noun(StrEnum):
    """What something was done to."""

    PRICING_PLAN = "pricing-plan"
    CUSTOMER = "customer"
    PAYMENT_METHOD = "payment-method"
    COUPON = "coupon"
    STOCK = "stock"
    ORDER = "order"
    PAYMENT = "payment"
    REFUND = "refund"
    TOP_UP = "top-up"
    USAGE_EVENT = "usage-event"
    SETTLEMENT = "settlement"
    SETTLEMENT_RUN = "settlement-run"
    INVOICE = "invoice"
    DEAD_LETTER = "dead-letter"
    TOPIC = "topic"
    RANKING = "ranking"
    AUDIT = "audit"


@dataclass(frozen=True)
class Actor:
    """Who did it, and from where."""

    type: ActorType
    id: str
    source: Source = NOWHERE


@dataclass(frozen=True)
class Entry:
    """What was done to which thing. Of what was changed only the fields that were, before and
    after: no card data and no secret."""

    actor: Actor
    action: Action
    noun: Noun
    target_id: str
    customer_id: str | None = None
    before: Mapping[str, JSON] | None = None
    after: Mapping[str, JSON] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class AuditEntry:
    """An entry as it is kept. `action` and `noun` are what was written, whatever there is now."""

    id: int
    xid: int
    at: datetime
    actor_type: str
    actor_id: str
    ip: str | None
    user_agent: str | None
    trace_id: str | None
    request_id: str | None
    action: str
    noun: str
    target_id: str
    customer_id: str | None
    before: Mapping[str, JSON] | None
    after: Mapping[str, JSON] | None
    reason: str | None


@dataclass(frozen=True)
class Wanted:
    """Which entries somebody looks for; what is None does not matter. `until` is not included."""

    action: str | None = None
    actor_id: str | None = None
    noun: str | None = None
    target_id: str | None = None
    customer_id: str | None = None
    trace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def actor(access: Access) -> Actor:
    """Whoever asks, as the trail names them: by the most that they may do."""
    if access.roles <= {Role.CUSTOMER}:
        kind = ActorType.USER
    elif access.roles <= {Role.CUSTOMER, Role.SERVICE}:
        kind = ActorType.SERVICE
    else:
        kind = ActorType.OPERATOR
    return Actor(kind, access.caller, access.source)


def system(workflow_id: str) -> Actor:
    """A workflow of ours, which decides what nobody was asked about."""
    return Actor(ActorType.SYSTEM, workflow_id)


def changed(
    before: Mapping[str, JSON], after: Mapping[str, JSON]
) -> tuple[dict[str, JSON], dict[str, JSON]]:
    """The fields that differ, as they were and as they are."""
    names = [name for name in after if name not in before or before[name] != after[name]]
    return {name: before[name] for name in names if name in before}, {
        name: after[name] for name in names
    }
