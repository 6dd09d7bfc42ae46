"""The demo's steps in order. A new one is a function of the stage and a line in `STEPS`."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dev.demo import books, failures, login, month, orders, payments, trail
from dev.demo.stage import Stage
from dev.demo.verdict import Unexpected

S = TypeVar("S", bound=Stage)


@dataclass(frozen=True)
class Step(Generic[S]):
    """`act` tells what it sees, and raises `Unexpected` when that is not what must be."""

    title: str
    act: Callable[[S], Coroutine[Any, Any, None]]


STEPS = (
    Step("Top up the wallet by card", payments.top_up),
    Step("Pay an order by card", payments.pay_by_card),
    Step("Send the same request again", payments.repeat),
    Step("Pay an order from the wallet", payments.pay_from_wallet),
    Step("Split payment: card declined, then another card", payments.decline_then_pay),
    Step("The gateway's answer is lost after it took the money", failures.lose_answer),
    Step("kill -9 of the worker while the gateway holds the call", failures.kill_worker),
    Step("Give a part back, then try more than the rest", payments.refund),
    Step("An order with coupon, points, wallet and card", orders.pay_with_everything),
    Step("The same declined: everything comes back", orders.decline_with_everything),
    Step("The last item, raced by five orders", orders.race_for_the_last_item),
    Step("The ledger against the gateway's own book", books.compare_ledger),
    Step("The events of all this, as read from Kafka", books.read_events),
    *(Step(title, act) for title, act in (*month.STEPS, *login.STEPS, *trail.STEPS)),
)


async def play(stage: S, steps: Sequence[Step[S]]) -> None:
    """Run every step; raises `Unexpected` with the number of the one that went wrong."""
    for number, step in enumerate(steps, start=1):
        stage.console.print(f"\n[bold]{number:2}. {step.title}[/bold]", highlight=False)
        try:
            await stage.watch(step.act(stage))
        except Unexpected as error:
            raise Unexpected(f"Step {number} ({step.title}) went wrong: {error}.") from error
