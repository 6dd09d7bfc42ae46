"""Card payments, whole orders and repeated requests, over HTTP, beside their floors."""

import os
import statistics
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import orjson
from temporalio.client import Client

from dev.seed import SKU
from load import nothing, statements
from load.connection import Connection
from load.figures import Figure, Group
from load.meter import IN_FLIGHT, Call, Meter, Series, Subject, together
from load.size import Size
from load.system import System
from runtime import temporal
from runtime.settings import Settings
from runtime.workers import running

PAYMENT = "card payment"
ORDER = "order with coupon, stock, points, wallet and card"
REPEAT = "the same request again"
OVER_HTTP = "the same over HTTP with nothing of ours"
ECHO = "echo of the same body"
BARE = "do-nothing workflow, no HTTP"
PATH = "/api/v1/payments"
QUICK_ONES = 10
"""How many times more often is done in a turn what takes no workflow."""
COUNTED = 20
CORES = os.cpu_count() or 1


async def measure(system: System, meter: Meter, size: Size) -> Group:
    """Rates at 16 in flight, times alone, and statements."""
    ours = [Connection(system.api_port) for _ in range(IN_FLIGHT)]
    needed = size.rounds * (size.together + size.alone) + size.together + COUNTED + 1
    await _offer(ours[0])
    cards = Orders(ours, items=[{"sku": "UNTRACKED", "quantity": 2, "unitPrice": 1000}])
    all_of_it = Orders(
        ours,
        items=[{"sku": SKU, "quantity": 2, "unitPrice": 1000}],
        couponCode="LOAD",
        points=100,
    )
    for orders in (cards, all_of_it):
        await orders.make(needed)

    async def pay(caller: int) -> None:
        await pay_by_card(ours[caller], cards.next())

    async def split(caller: int) -> None:
        split = {"orderId": all_of_it.next(), "method": "SPLIT", "walletAmount": 500}
        await _pay(ours[caller], split)

    client = await temporal.connect_when_ready(Settings())
    async with running(nothing.worker(client)):
        found = await meter.compare(
            [
                Subject(PAYMENT, pay, size.together, size.alone),
                Subject(OVER_HTTP, floor_of(system), size.together, size.alone),
                Subject(BARE, _bare(client), size.together, size.alone),
                Subject(ORDER, split, size.together, size.alone),
                *await _repeats(system, cards, size),
            ],
            size.rounds,
        )
    by_word = await statements.of_each(system, pay, COUNTED)
    group = Group("Payments")
    group.take(*found.values())
    rates = {name: series.rates for name, series in found.items()}
    group.ratio(
        "payments / the same over HTTP with nothing of ours", rates[PAYMENT], rates[OVER_HTTP], 0.85
    )
    group.ratio("payments / do-nothing workflow", rates[PAYMENT], rates[BARE], 0.65)
    group.ratio(
        "payment alone, p50 / do-nothing workflow",
        found[PAYMENT].alone,
        found[BARE].alone,
        1.6,
        at_most=True,
    )
    group.figures.append(Figure("statements of a payment", sum(by_word.values()), 12, at_most=True))
    group.ratio("whole orders / payments", rates[ORDER], rates[PAYMENT], 0.8)
    group.ratio("repeats / echo of the same body", rates[REPEAT], rates[ECHO], 0.6)
    group.notes += [limited_by(found[PAYMENT]), statements.in_words(by_word)]
    return group


def limited_by(series: Series) -> str:
    """What a payment waits for, as far as CPU tells."""
    cpu = series.cpu_medians()
    most, used = next(iter(cpu.items()))
    busy, others = statistics.median(series.busy), statistics.median(series.others)
    state = "the cores are saturated" if busy > 0.9 * CORES else "the cores have room"
    return (
        f"limited by {most}: {used:.0f} of {sum(cpu.values()):.0f} ms CPU of a {series.name}; "
        f"{busy:.1f} of {CORES} cores busy, {others:.1f} of them with something else: {state}"
    )


class Orders:
    """Orders that wait to be paid: making them is not measured."""

    def __init__(self, made_by: Sequence[Connection], **order: object) -> None:
        self._made_by = made_by
        self._order = {"currency": "KRW", **order}
        self._ids: list[str] = []

    async def make(self, count: int) -> None:
        async def one(caller: int) -> None:
            made = await self._made_by[caller].post("/api/v1/orders", self._order, uuid4().hex)
            self._ids.append(made["id"])

        await together(one, count, len(self._made_by))

    def next(self) -> str:
        return self._ids.pop()


def floor_of(system: System) -> Call:
    """A payment with nothing of ours in it."""
    floor = [Connection(system.floor_port) for _ in range(IN_FLIGHT)]

    async def one(caller: int) -> None:
        body = orjson.dumps({"orderId": str(uuid4()), "method": "CARD"})
        await floor[caller].send("POST", "/floor", body, expect=201)

    return one


async def pay_by_card(connection: Connection, order_id: str) -> str:
    """The id of the payment, once it is completed."""
    return await _pay(connection, {"orderId": order_id, "method": "CARD"})


async def _repeats(system: System, cards: Orders, size: Size) -> list[Subject]:
    ours = [Connection(system.api_port) for _ in range(IN_FLIGHT)]
    floor = [Connection(system.floor_port) for _ in range(IN_FLIGHT)]
    body = {"orderId": cards.next(), "method": "CARD"}
    sent, key = orjson.dumps(body), {"Idempotency-Key": uuid4().hex}
    await ours[0].send("POST", PATH, sent, expect=201, headers=key)

    async def again(caller: int) -> None:
        await ours[caller].send("POST", PATH, sent, expect=201, headers=key)

    async def echo(caller: int) -> None:
        await floor[caller].send("POST", "/echo/payment", sent, expect=201, headers=key)

    count = size.together * QUICK_ONES
    return [Subject(REPEAT, again, count, size.alone), Subject(ECHO, echo, count, size.alone)]


def _bare(client: Client) -> Call:
    async def one(caller: int) -> None:
        await client.execute_workflow(
            nothing.Nothing.run, id=f"nothing/{uuid4()}", task_queue=nothing.QUEUE
        )

    return one


async def _offer(connection: Connection) -> None:
    """A coupon, and money and points for every order of the full saga."""
    always = {"validFrom": "2020-01-01T00:00:00Z", "validUntil": "2099-01-01T00:00:00Z"}
    coupon = {"kind": "PERCENTAGE", "basisPoints": 1_000, **always}
    await connection.send("PUT", "/api/v1/coupons/LOAD", orjson.dumps(coupon), expect=201)
    money = {"amount": 100_000_000, "currency": "KRW"}
    await connection.post("/api/v1/wallet/top-ups", money, uuid4().hex)
    dear = [{"sku": "UNTRACKED", "quantity": 1, "unitPrice": 200_000_000}]
    spent = await connection.post("/api/v1/orders", {"currency": "KRW", "items": dear}, uuid4().hex)
    # It earns a hundredth of it in points.
    await pay_by_card(connection, spent["id"])


async def _pay(connection: Connection, body: dict[str, Any]) -> str:
    paid = await connection.post(PATH, body, uuid4().hex)
    if paid["status"] != "COMPLETED":
        raise RuntimeError(f"a payment ended {paid['status']}")
    return paid["id"]
