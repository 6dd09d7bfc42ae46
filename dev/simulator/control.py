"""What a test calls: /control. Nothing here is in the way of an outage."""

from contextlib import suppress
from typing import Annotated

import httpx2
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict

from dev.simulator import book
from dev.simulator.behaviours import QueuedBehaviour
from dev.simulator.state import Outage, Simulator, simulator_of
from dev.simulator.wire import Refused, answer, as_json


async def _control(request: Request) -> Simulator:
    return simulator_of(request)


Control = Annotated[Simulator, Depends(_control)]


class OutageBody(BaseModel):
    """`refuse`: 503 to every /v1 call, before any effect; `hang`: nothing is answered."""

    model_config = ConfigDict(extra="forbid")

    mode: Outage


class WebhookBody(BaseModel):
    """Where webhooks go; null sends none, and effects in that time are never announced."""

    model_config = ConfigDict(extra="forbid")

    url: str | None


control = APIRouter(prefix="/control")


def _queue(sim: Simulator, status: int = 200) -> Response:
    entries = [entry.model_dump(mode="json", by_alias=True) for entry in sim.queue]
    return answer(status, as_json({"behaviours": entries}))


@control.post("/behaviours")
async def queue_behaviour(sim: Control, body: QueuedBehaviour) -> Response:
    if not body.is_possible():
        raise Refused(400, "invalid-request", f"{body.behaviour} does not apply to an inquiry.")
    sim.queue.append(body)
    return _queue(sim, 201)


@control.get("/behaviours")
async def list_behaviours(sim: Control) -> Response:
    return _queue(sim)


@control.delete("/behaviours")
async def forget_behaviours(sim: Control) -> Response:
    sim.queue.clear()
    return _queue(sim)


@control.post("/reset")
async def reset(sim: Control) -> Response:
    """Empty the book and the queue, end the outage, cut off every waiting call."""
    book.empty(sim.db)
    sim.queue.clear()
    sim.outage = "none"
    sim.in_flight.clear()
    sim.cut_off()
    return answer(200, as_json({"status": "empty"}))


@control.put("/webhook")
async def set_webhook(sim: Control, body: WebhookBody) -> Response:
    if body.url is not None:
        check_webhook_url(body.url)
        if sim.options.signer is None:
            raise Refused(422, "no-webhook-secret", "Start with --webhook-secret to send webhooks.")
    use_webhook_url(sim, body.url)
    return answer(200, as_json({"url": body.url}))


@control.post("/outage")
async def set_outage(sim: Control, body: OutageBody) -> Response:
    sim.outage = body.mode
    return answer(200, as_json({"mode": body.mode}))


def check_webhook_url(url: str) -> None:
    """Raise Refused unless `url` is an absolute http or https address."""
    with suppress(httpx2.InvalidURL, ValueError):
        parsed = httpx2.URL(url)
        if parsed.scheme in ("http", "https") and parsed.host:
            return
    raise Refused(400, "invalid-request", "The url is not an http address.")


def use_webhook_url(sim: Simulator, url: str | None) -> None:
    """Send webhooks to `url` from now on, also after a restart."""
    book.set_setting(sim.db, "webhook_url", url)
    sim.webhook_url = url
    sim.webhook_due.set()
