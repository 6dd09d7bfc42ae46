"""What a PG tells unasked: a hint, never a fact. Stored once per event, then the PG is asked."""

import asyncio
from collections.abc import Mapping

from domain.access import SYSTEM, Access
from domain.audit import Noun
from domain.identifier import UUID, has_form
from domain.payment import PaymentStatus
from domain.webhook import Wanted, Webhook
from domain.workflow_id import payment_workflow_id, refund_workflow_id
from service.audit import looked_through
from service.desk import Desk
from service.temporal import UNREACHABLE
from store import webhook
from store.page import Page, Place

_NO_NEWS_NEEDED = frozenset[str | None]({None, PaymentStatus.PENDING, PaymentStatus.COMPLETED})
"""Of a refund too. While a call is under way its own answer is the news: a signal then would only
make Temporal do the step again. One that has failed may be watched for a late capture."""


async def take(desk: Desk, gateway: str, event_id: str, event: Mapping[str, object]) -> None:
    """Store an event of the PG, and hint whoever waits for it. One that came before changes
    nothing."""
    payment_id, refund_id = _uuid(event.get("orderId")), _uuid(event.get("refundId"))
    async with desk.database.statements(SYSTEM) as tx:
        new = await webhook.store(tx, gateway, event_id, event, payment_id, refund_id)
    if new is None:
        return
    if refund_id is not None:
        if new.refund not in _NO_NEWS_NEEDED:
            await _hint(desk, refund_workflow_id(refund_id))
    elif payment_id is not None and new.payment not in _NO_NEWS_NEEDED:
        await _hint(desk, payment_workflow_id(payment_id))


async def listed(
    desk: Desk, access: Access, wanted: Wanted, place: Place | None, limit: int
) -> Page[Webhook]:
    """What came last first, below a place."""
    async with desk.database.read(access.scope) as tx:
        found = await webhook.listed(tx, wanted, place, limit)
    await looked_through(desk, access, Noun.WEBHOOK, None)
    return found


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
