"""Webhooks of the PGs: hints, never facts. Stored once per event, then the PG is asked."""

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from api.context import Context, Using
from domain.errors import InvalidRequest, NotFound
from domain.identifier import UUID, has_form
from domain.payment import Payment, PaymentStatus
from domain.refund import Refund
from domain.strict_json import lossless, parse
from domain.workflow_id import payment_workflow_id, refund_workflow_id
from gateway.webhook import verify
from runtime.temporal import UNREACHABLE
from store import payment, refund, webhook
from store.database import Transaction

router = APIRouter(prefix="/webhooks/gateway", tags=["webhooks"])

_NO_NEWS_NEEDED = frozenset({PaymentStatus.PENDING, PaymentStatus.COMPLETED})
"""Of a refund too. One that has failed may be watched for a late capture."""


@router.post("/{name}", status_code=204)
async def receive_gateway_webhook(name: str, request: Request, context: Using) -> Response:
    """Signed as Standard Webhooks 1.0.0 says. An event that came before changes nothing."""
    if name not in context.gateways:
        raise NotFound(f"There is no gateway {name!r}.")
    body = await request.body()
    event = parse(body, lossless)  # first: the verifier reads JSON too, but without our bounds
    verify(context.settings.gateway_webhook_secret.get_secret_value(), body, request.headers)
    event_id = event.get("id") if isinstance(event, dict) else None
    if not isinstance(event_id, str) or not 1 <= len(event_id) <= 200:
        raise InvalidRequest("A webhook is an object with an id.")
    async with context.database.begin() as tx:
        new = await webhook.store(tx, name, event_id, event)
        owner = await _waiting_owner(tx, event) if new else None
    if owner is not None:
        await _hint(context, owner)
    return Response(status_code=204)


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


async def _hint(context: Context, workflow_id: str) -> None:
    """Tell it to ask the PG. One that has ended, or cannot be reached now, needs no hint: its
    ladder asks anyway."""
    handle = context.temporal.get_workflow_handle(workflow_id)
    try:
        async with asyncio.timeout(context.settings.api_wait_seconds):
            await handle.signal("gateway_hint")
    except (TimeoutError, *UNREACHABLE):
        return


def _uuid(value: object) -> str | None:
    return value if has_form(value, UUID) else None
