"""Webhooks of the PGs: hints, never facts. Stored once per event, then the PG is asked."""

from fastapi import APIRouter, Request, Response

from api.context import Using
from domain.errors import InvalidRequest, NotFound
from domain.strict_json import lossless, parse
from gateway.webhook import verify
from service import webhook

router = APIRouter(prefix="/webhooks/gateway", tags=["webhooks"])


@router.post("/{name}", status_code=204)
async def receive_gateway_webhook(name: str, request: Request, context: Using) -> Response:
    """Signed as Standard Webhooks 1.0.0 says. An event that came before changes nothing."""
    if name not in context.desk.gateways:
        raise NotFound(f"There is no gateway {name!r}.")
    body = await request.body()
    event = parse(body, lossless)  # first: the verifier reads JSON too, but without our bounds
    verify(context.settings.gateway_webhook_secrets, body, request.headers)
    event_id = event.get("id") if isinstance(event, dict) else None
    if not isinstance(event_id, str) or not 1 <= len(event_id) <= 200:
        raise InvalidRequest("A webhook is an object with an id.")
    await webhook.take(context.desk, name, event_id, event)
    return Response(status_code=204)
