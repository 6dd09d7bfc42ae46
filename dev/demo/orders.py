"""Steps: coupon, stock and points take part in a payment, and come back when it fails."""

import asyncio
from collections import Counter
from typing import Any

from dev.demo.payments import DECLINED_CARD, krw
from dev.demo.stage import Stage
from dev.demo.verdict import expect

COUPON = "DEMO-10"
POINTS = 100
RACERS = 5


async def pay_with_everything(stage: Stage) -> None:
    """An order with a coupon and points, paid from the wallet and by card."""
    shop = stage.shop
    await _offer(stage, "LAMP", 3)
    wallet, points = (await shop.wallet())[0], (await shop.points())[0]
    order_id = await shop.order(20_000, "LAMP", couponCode=COUPON, points=POINTS)
    paid = await shop.pay(order_id, "SPLIT", walletAmount=5_000)
    expect("the payment", (paid["status"], paid["cardAmount"]), ("COMPLETED", 12_900))
    expect("the stock", await shop.stock("LAMP"), (2, 0))
    expect("uses of the coupon", await shop.coupon_uses(COUPON), 1)
    expect("the wallet's balance", await shop.wallet(), (wallet - 5_000, 0))
    earned = paid["pointsEarned"]
    expect("the points", await shop.points(), (points - POINTS + earned, 0))
    stage.tell(f"{krw(20_000)}, less 10 % by coupon {COUPON}, less {POINTS} points:")
    stage.tell(f"{krw(5_000)} from the wallet and {krw(12_900)} by card; one lamp left the stock.")
    stage.tell(f"It earned {earned} points: 1 % of the money.")


async def decline_with_everything(stage: Stage) -> None:
    """The same again, but the card says no: everything is as before."""
    shop = stage.shop
    bad = await shop.card(DECLINED_CARD)
    before = await _holdings(stage)
    order_id = await shop.order(20_000, "LAMP", couponCode=COUPON, points=POINTS)
    failed = await shop.pay(order_id, "SPLIT", walletAmount=5_000, paymentMethodId=bad)
    expect("the payment", (failed["status"], failed["failureCode"]), ("FAILED", "declined"))
    expect("what everybody holds", await _holdings(stage), before)
    steps = (await shop.get(f"/api/v1/orders/{order_id}"))["steps"]
    undone = [step["step"] for step in steps if step["state"] == "UNDONE"]
    stage.tell(f"The card was declined ({failed['gatewayCode']}). Undone: {', '.join(undone)}.")
    stage.tell("Wallet, points, stock and coupon are as they were before.")


async def race_for_the_last_item(stage: Stage) -> None:
    """Five orders want the one piece that is left."""
    shop = stage.shop
    await _offer(stage, "VASE", 1)
    orders = [await shop.order(3_000, "VASE") for _ in range(RACERS)]
    paid: list[dict[str, Any]] = await asyncio.gather(*(shop.pay(each, "CARD") for each in orders))
    ends = Counter((each["status"], each["failureCode"]) for each in paid)
    wanted = Counter({("COMPLETED", None): 1, ("FAILED", "out-of-stock"): RACERS - 1})
    expect("how the payments ended", ends, wanted)
    expect("the stock", await shop.stock("VASE"), (0, 0))
    captures = [await shop.captures(each["id"]) for each in paid]
    expect("captures at the gateway", sum(captures), 1)
    stage.tell(f"{RACERS} payments at once: one got it, {RACERS - 1} FAILED (out-of-stock).")
    stage.tell("Nobody else was charged; each may pay again once there is stock.")


async def _offer(stage: Stage, sku: str, on_hand: int) -> None:
    await stage.shop.put(f"/api/v1/inventory/{sku}", {"onHand": on_hand})
    always = {"validFrom": "2020-01-01T00:00:00Z", "validUntil": "2099-01-01T00:00:00Z"}
    ten_percent = {"kind": "PERCENTAGE", "basisPoints": 1_000, **always}
    await stage.shop.put(f"/api/v1/coupons/{COUPON}", ten_percent)


async def _holdings(stage: Stage) -> dict[str, object]:
    shop = stage.shop
    return {
        "wallet": await shop.wallet(),
        "points": await shop.points(),
        "stock": await shop.stock("LAMP"),
        "coupon": await shop.coupon_uses(COUPON),
    }
