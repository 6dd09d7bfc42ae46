"""What a PG tells unasked: a hint, never a fact. Stored once per event, then the PG is asked."""

import asyncio
from collections.abc import Mapping

from domain.access import SYSTEM
from domain.identifier import UUID, has_form
from domain.payment import Payment, PaymentStatus
from domain.refund import Refund
from domain.workflow_id import payment_workflow_id, refund_workflow_id
from service.desk import Desk
from service.temporal import UNREACHABLE
from store import payment, refund, webhook
from store.database import Transaction

_NO_NEWS_NEEDED = frozenset({PaymentStatus.PENDING, PaymentStatus.COMPLETED})
"""Of a refund too. One that has failed may be watched for a late capture."""


async def take(desk: Desk, gateway: str, event_id: str, event: Mapping[str, object]) -> None:
    """Store an event of the PG, and hint whoever waits for it. One that came before changes
    nothing."""
    async with desk.database.begin(SYSTEM) as tx:
        new = await webhook.store(tx, gateway, event_id, event)
        owner = await _waiting_owner(tx, event) if new else None
    if owner is not None:
        await _hint(desk, owner)


async def _waiting_owner(tx: Transaction, event: Mapping[str, object]) -> str | None:
    """The workflow that waits for news of the PG. While a call is under way its own answer is the
    news: a signal then would only make Temporal do the step again."""
    row: Payment | Refund | None
    if (refund_id := _uuid(event.get("refundId"))) is not None:
        row, workflow_id = await refund.find(tx, refund_id), refund_workflow_id(refund_id)
    elif (payment_id := _uuid(event.get("orderId"))) is not None:
        row, workflow_id = await payment.find(tx, payment_id), payment_workflow_id(payment_id)
    else:
        return None
    return workflow_id if row is not None and row.status not in _NO_NEWS_NEEDED else None


async def _hint(desk: Desk, workflow_id: str) -> None:
    """Tell it to ask the PG. One that has ended, or cannot be reached now, needs no hint: its
    ladder asks anyway."""
    handle = desk.temporal.get_workflow_handle(workflow_id)
    try:
        async with asyncio.timeout(desk.wait_seconds):
            await handle.signal("gateway_hint")
    except (TimeoutError, *UNREACHABLE):
        return


def _uuid(value: object) -> str | None:
    return value if has_form(value, UUID) else None
