"""What waits for a payment gateway: its workflow asks again, by itself later, or when it is hinted.

A review waits for a person, and a payment without a card part for nobody.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Row, Select, Text, func, literal, or_, select, union_all

from domain.gateway_health import FIRST_CALL, Kind, Queue, Waiting
from domain.payment import PaymentStatus
from domain.refund import RefundStatus
from store.clock import NOW
from store.database import Transaction
from store.tables import payments, refunds, watches

_PAYMENTS = select(
    literal(Kind.PAYMENT.value, Text).label("kind"),
    payments.c.id,
    payments.c.gateway,
    payments.c.created_at.label("since"),
).where(
    # The same set as that of an index, which holds those alone that have not ended.
    payments.c.status.not_in(["COMPLETED", "FAILED", "CANCELLED"]),
    payments.c.card_amount > 0,
    or_(
        payments.c.status == PaymentStatus.UNKNOWN,
        (payments.c.status == PaymentStatus.PENDING) & (payments.c.created_at < NOW - FIRST_CALL),
    ),
)
_REFUNDS = select(
    literal(Kind.REFUND.value, Text), refunds.c.id, refunds.c.gateway, refunds.c.created_at
).where(
    refunds.c.status.not_in(["COMPLETED", "FAILED"]),
    refunds.c.card_amount > 0,
    or_(
        refunds.c.status == RefundStatus.UNKNOWN,
        (refunds.c.status == RefundStatus.PENDING) & (refunds.c.created_at < NOW - FIRST_CALL),
    ),
)
_WATCHES = (
    select(literal(Kind.WATCH.value, Text), payments.c.id, payments.c.gateway, watches.c.began_at)
    .join_from(watches, payments, payments.c.id == watches.c.payment_id)
    .where(watches.c.ended_at.is_(None))
)
_WAITING = union_all(_PAYMENTS, _REFUNDS, _WATCHES).subquery("waiting")


async def queues(tx: Transaction) -> Mapping[str, Queue]:
    """How many wait for each gateway; one for which nothing waits is left out."""
    query = select(
        _WAITING.c.gateway, _WAITING.c.kind, func.count(), func.min(_WAITING.c.since)
    ).group_by(_WAITING.c.gateway, _WAITING.c.kind)
    counted: dict[str, dict[Kind, tuple[int, datetime]]] = {}
    for gateway, kind, number, since in await tx.execute(query):
        counted.setdefault(gateway, {})[Kind(kind)] = (number, since)
    return {gateway: _queue(kinds) for gateway, kinds in counted.items()}


async def page(tx: Transaction, gateway: str, after_id: str | None, limit: int) -> list[Waiting]:
    """Who waits for this gateway, in id order after `after_id`: who was made first comes first."""
    query = _of(gateway).order_by(_WAITING.c.id).limit(limit)
    if after_id is not None:
        query = query.where(_WAITING.c.id > after_id)
    return _found(await tx.execute(query))


async def some(tx: Transaction, gateway: str, limit: int) -> list[Waiting]:
    """A few of them, others each time."""
    query = _of(gateway).order_by(func.random()).limit(limit)
    return _found(await tx.execute(query))


def _found(rows: Iterable[Row[tuple[str, str]]]) -> list[Waiting]:
    return [Waiting(Kind(row.kind), row.id) for row in rows]


def _of(gateway: str) -> Select[tuple[str, str]]:
    return select(_WAITING.c.kind, _WAITING.c.id).where(_WAITING.c.gateway == gateway)


def _queue(kinds: Mapping[Kind, tuple[int, datetime]]) -> Queue:
    numbers = {kind: number for kind, (number, _) in kinds.items()}
    moments = [since for kind, (_, since) in kinds.items() if kind is not Kind.WATCH]
    return Queue(
        payments=numbers.get(Kind.PAYMENT, 0),
        refunds=numbers.get(Kind.REFUND, 0),
        watches=numbers.get(Kind.WATCH, 0),
        since=min(moments, default=None),
    )
