"""Steps: money comes in, goes out, is declined and given back."""

from dev.demo.shop import CURRENCY, CUSTOMER
from dev.demo.stage import Stage
from dev.demo.verdict import expect
from domain.money import format_amount

GOOD_CARD = "4242424242424242"
DECLINED_CARD = "4000000000009995"


def krw(amount: int) -> str:
    """An amount for the audience."""
    return format_amount(amount, CURRENCY)


async def top_up(stage: Stage) -> None:
    """The wallet is filled by card."""
    before, _ = await stage.shop.wallet()
    made = await stage.shop.top_up(50_000)
    expect("the top-up", made["status"], "COMPLETED")
    expect("the wallet's balance", await stage.shop.wallet(), (before + 50_000, 0))
    stage.tell(f"The card gave {krw(50_000)}; {CUSTOMER} can now spend {krw(before + 50_000)}.")


async def pay_by_card(stage: Stage) -> None:
    """An order is paid by card."""
    order_id = await stage.shop.order(12_000)
    paid = await stage.shop.pay(order_id, "CARD")
    expect("the payment", paid["status"], "COMPLETED")
    expect("captures at the gateway", await stage.shop.captures(paid["id"]), 1)
    expect("the order", await _order_status(stage, order_id), "COMPLETED")
    stage.tell(f"{krw(12_000)} captured by the gateway; payment and order are COMPLETED.")


async def repeat(stage: Stage) -> None:
    """The same request comes again, as after a double click or a lost answer."""
    first, again = await stage.shop.repeat()
    expect("the status of the repeat", again.status_code, first.answer.status_code)
    expect("the body of the repeat", again.content, first.answer.content)
    expect("the header of the repeat", again.headers.get("Idempotency-Replayed"), "true")
    expect("captures at the gateway", await stage.shop.captures(again.json()["id"]), 1)
    stage.tell("The same Idempotency-Key got the same answer, byte for byte.")
    stage.tell("The gateway's book still shows one capture: nobody paid twice.")


async def pay_from_wallet(stage: Stage) -> None:
    """An order is paid from the wallet alone."""
    before, _ = await stage.shop.wallet()
    paid = await stage.shop.pay(await stage.shop.order(8_000), "WALLET")
    expect("the payment", paid["status"], "COMPLETED")
    expect("the wallet's balance", await stage.shop.wallet(), (before - 8_000, 0))
    expect("captures at the gateway", await stage.shop.captures(paid["id"]), 0)
    stage.tell(f"{krw(8_000)} left the wallet; the gateway was not asked.")


async def decline_then_pay(stage: Stage) -> None:
    """The card part of a split payment is declined; the order is then paid with another card."""
    shop = stage.shop
    before = await shop.wallet()
    order_id = await shop.order(30_000)
    bad = await shop.card(DECLINED_CARD)
    failed = await shop.pay(order_id, "SPLIT", walletAmount=10_000, paymentMethodId=bad)
    expect("the payment", (failed["status"], failed["failureCode"]), ("FAILED", "declined"))
    expect("the wallet's balance", await shop.wallet(), before)
    expect("the wallet's part", await _step(stage, order_id, failed["id"], "wallet.hold"), "UNDONE")
    code = failed["gatewayCode"]
    stage.tell(f"{krw(10_000)} of the wallet were set aside; then the card was declined ({code}).")
    stage.tell("The payment FAILED, the wallet has its money back, the order can be paid again.")
    good = await shop.card(GOOD_CARD)
    paid = await shop.pay(order_id, "SPLIT", walletAmount=10_000, paymentMethodId=good)
    expect("the second payment", paid["status"], "COMPLETED")
    expect("the wallet's balance", await shop.wallet(), (before[0] - 10_000, 0))
    expect("captures at the gateway", await shop.captures(paid["id"]), 1)
    stage.tell(f"Another card: {krw(10_000)} from the wallet, {krw(20_000)} by card, COMPLETED.")


async def refund(stage: Stage) -> None:
    """A part of a payment is given back; more than the rest is refused."""
    paid = await stage.shop.pay(await stage.shop.order(10_000), "CARD")
    first = await stage.shop.refund(paid["id"], 4_000)
    expect("the refund", (first.status_code, first.json().get("status")), (201, "COMPLETED"))
    stage.tell(f"Of {krw(10_000)} paid by card, {krw(4_000)} went back to the card.")
    second = await stage.shop.refund(paid["id"], 7_000)
    problem = second.json()
    expect("the second refund", second.status_code, 422)
    expect("the reason", problem["type"].rpartition("/")[2], "refund-exceeds-capture")
    refunded = (await stage.shop.get(f"/api/v1/payments/{paid['id']}"))["refundedAmount"]
    expect("what was given back", refunded, 4_000)
    stage.tell(f"A second refund was refused: {problem['detail']}")


async def _order_status(stage: Stage, order_id: str) -> str:
    return str((await stage.shop.get(f"/api/v1/orders/{order_id}"))["status"])


async def _step(stage: Stage, order_id: str, payment_id: str, name: str) -> str | None:
    order = await stage.shop.get(f"/api/v1/orders/{order_id}")
    for step in order["steps"]:
        if (step["paymentId"], step["step"]) == (payment_id, name):
            return str(step["state"])
    return None
