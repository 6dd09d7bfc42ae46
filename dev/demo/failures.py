"""Steps: an answer is lost, a worker dies, and yet every payment ends once."""

import asyncio
import time
from typing import Any

from dev.demo.payments import krw
from dev.demo.stage import Stage
from dev.demo.verdict import Unexpected, expect

LOST_ANSWER_CARD = "4000000000014003"
NEVER_ANSWERED_CARD = "4000000000015000"


async def lose_answer(stage: Stage) -> None:
    """The gateway takes the money, the line breaks before its answer, and no webhook comes."""
    shop = stage.shop
    order_id = await shop.order(7_000)
    card = await shop.card(LOST_ANSWER_CARD)
    began = time.monotonic()
    async with shop.without_webhooks():
        paying = asyncio.create_task(shop.pay(order_id, "CARD", paymentMethodId=card))

        async def unknown_or_ended() -> bool:
            return await _status(stage, order_id) == "UNKNOWN" or paying.done()

        await stage.until("the payment is being found out", unknown_or_ended)
        if not paying.done():
            stage.tell(f"{krw(7_000)} are taken, but the answer got lost: the payment is UNKNOWN.")
        paid = await paying
    seconds = time.monotonic() - began
    expect("the payment", paid["status"], "COMPLETED")
    expect("captures at the gateway", await shop.captures(paid["id"]), 1)
    stage.tell("The same request was sent again under the same key, so nothing was taken twice.")
    stage.tell(f"COMPLETED after {seconds:.1f} s, captured once.")


async def kill_worker(stage: Stage) -> None:
    """The worker dies by kill -9 while the gateway holds its call."""
    shop = stage.shop
    order_id = await shop.order(9_000)
    card = await shop.card(NEVER_ANSWERED_CARD)

    async def captured() -> bool:
        payments = await _payments(stage, order_id)
        if payments and payments[0]["failureCode"] is not None:
            raise Unexpected(f"the payment failed: {payments[0]['failureCode']}")
        return bool(payments) and await shop.captures(payments[0]["id"]) == 1

    async with shop.without_webhooks(), shop.held_answers(NEVER_ANSWERED_CARD):
        paying = asyncio.create_task(shop.pay(order_id, "CARD", paymentMethodId=card))
        await stage.until("the gateway has the call", captured)
        stage.kill_worker()
        killed_at = time.monotonic()
        left = await _status(stage, order_id)
    if left not in ("PENDING", "UNKNOWN"):
        raise Unexpected(f"the payment ended {left} with nobody at work")
    stage.tell(f"The gateway has taken {krw(9_000)} and holds its answer; the worker is dead.")
    await stage.start_worker()
    stage.tell(f"Another worker is ready after {time.monotonic() - killed_at:.1f} s.")
    paid = await paying
    expect("the payment", paid["status"], "COMPLETED")
    expect("captures at the gateway", await shop.captures(paid["id"]), 1)
    stage.tell(f"COMPLETED {time.monotonic() - killed_at:.1f} s after the kill, captured once.")


async def _payments(stage: Stage, order_id: str) -> list[dict[str, Any]]:
    page: dict[str, Any] = await stage.shop.get(f"/api/v1/payments?orderId={order_id}")
    payments: list[dict[str, Any]] = page["items"]
    return payments


async def _status(stage: Stage, order_id: str) -> str | None:
    return next((str(payment["status"]) for payment in await _payments(stage, order_id)), None)
