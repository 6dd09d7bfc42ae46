"""Webhooks: sent in the order of the book, signed, again after a failure, at least once."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime

import httpx2
from standardwebhooks import Webhook

from dev.simulator import book
from dev.simulator.state import Simulator

# Seconds from one attempt to the next, before the time scale; after the last one it is given up.
RETRY_AFTER = (1.0, 2.0, 5.0, 15.0, 60.0)

_TIMEOUT_SECONDS = 5.0


async def deliver_for_ever(sim: Simulator, signer: Webhook) -> None:
    """Send what is due, then sleep until something is; runs until it is cancelled."""
    # The proxies of the environment are not for a receiver next door.
    async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
        while True:
            sim.webhook_due.clear()
            for event in book.due_events(sim.db, time.time()):
                await _deliver(sim, signer, client, event)
            next_at = None if sim.webhook_url is None else book.next_event_at(sim.db)
            wait = None if next_at is None else max(0.0, next_at - time.time())
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await sim.webhook_due.wait()


async def _deliver(
    sim: Simulator, signer: Webhook, client: httpx2.AsyncClient, event: book.Event
) -> None:
    url = sim.webhook_url
    if url is None:
        return
    for _ in range(event.copies):
        if not await _send(client, signer, url, event):
            again = None
            if event.attempts < len(RETRY_AFTER):
                again = time.time() + RETRY_AFTER[event.attempts] / sim.options.time_scale
            book.event_failed(sim.db, event, again)
            return
    book.event_sent(sim.db, event)


async def _send(client: httpx2.AsyncClient, signer: Webhook, url: str, event: book.Event) -> bool:
    """Whether the receiver took it (2xx); the time and the signature are of this attempt."""
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": event.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(event.id, now, event.body),
    }
    try:
        response = await client.post(url, content=event.body, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return False
    return response.is_success
