"""A step by one statement leaves what it leaves step by step, or nothing: the two are told apart by
nobody."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.coupon import CouponActivities
from activities.inventory import InventoryActivities
from activities.order import OrderActivities
from activities.payment import PaymentActivities
from activities.points import PointsActivities
from activities.wallet import WalletActivities
from domain.access import SYSTEM
from domain.errors import Rejected
from domain.gateway import GatewayAnswer, GatewayStatus
from domain.payment import Capture, FailedPayment, Marking, PaymentRequest, PaymentStatus
from domain.review import QUESTIONS
from domain.saga import of_gateway
from store import change, order, payment
from store.change import Change
from store.database import Database
from tests.activities.conftest import paid_by
from tests.support.billing import Billing
from tests.support.cashier import Cashier, Goods
from tests.support.databases import statements

Step = Callable[[PaymentRequest], Awaitable[object]]
Run = Callable[[Database, PaymentRequest], Awaitable[object]]


@dataclass(frozen=True)
class Shape:
    """What an order is paid with."""

    wallet: int
    card: int
    goods: bool
    two_calls: bool

    def __str__(self) -> str:
        parts = {"wallet": self.wallet, "card": self.card, "goods": self.goods}
        words = [name for name, there in parts.items() if there]
        return "+".join([*words, *(["two-calls"] if self.two_calls else [])])


SHAPES = [
    Shape(wallet, card, goods, two_calls)
    for wallet, card, goods, two_calls in product((0, 400), (0, 900), (False, True), (False, True))
    if (wallet or card) and (card or not two_calls)
]


async def _nothing(database: Database, request: PaymentRequest) -> None:
    """It goes well."""


async def _given_back(database: Database, request: PaymentRequest) -> None:
    async with database.begin(SYSTEM) as tx:
        await payment.give_back(tx, request.payment_id)


async def _marked(database: Database, request: PaymentRequest) -> None:
    if request.card_amount:
        pivot, status = request.pivot, PaymentStatus.NEEDS_REVIEW
        step, question = of_gateway(pivot), QUESTIONS[pivot]
        asked = Marking(request, status, "Who knows?", step, pivot, question)
        await PaymentActivities(database).mark(asked)


async def _hold_released(database: Database, request: PaymentRequest) -> None:
    if request.wallet_amount:
        await WalletActivities(database).release(request)


async def _points_given_back(database: Database, request: PaymentRequest) -> None:
    if request.points_amount:
        await PointsActivities(database).give_back(request)


async def _coupon_restored(database: Database, request: PaymentRequest) -> None:
    if request.coupon_code:
        await CouponActivities(database).restore(request)


async def _stock_restored(database: Database, request: PaymentRequest) -> None:
    if request.stock:
        await InventoryActivities(database).restore(request)


async def _failed(database: Database, request: PaymentRequest) -> None:
    for undo in (_coupon_restored, _stock_restored, _points_given_back, _hold_released):
        await undo(database, request)
    answers = dict.fromkeys(request.operations, GatewayAnswer(GatewayStatus.DECLINED))
    failed = FailedPayment(request, PaymentStatus.FAILED, "declined", "No.", answers=answers)
    await PaymentActivities(database).fail(failed)


async def _completed(database: Database, request: PaymentRequest) -> None:
    await PaymentActivities(database).complete(Capture(request, "pg_1"))


BEFORE: list[Run] = [
    _nothing,
    _given_back,
    _marked,
    _hold_released,
    _points_given_back,
    _coupon_restored,
    _stock_restored,
    _failed,
    _completed,
]
"""What another run of the payment has done meanwhile."""


@dataclass(frozen=True)
class Twin:
    """A customer of its own with one payment, to be compared with another such customer."""

    cashier: Cashier
    request: PaymentRequest
    goods: Goods | None

    async def run(self, step: Step) -> str | None:
        """The kind of refusal, if it is refused."""
        try:
            await ActivityEnvironment().run(step, self.request)
        except Rejected as refusal:
            return type(refusal).__name__
        return None

    async def rows(self) -> dict[str, list[str]]:
        """Everything of the customer; ids by what they are of, without moments and numbers."""
        async with self.cashier.billing.database.engine.connect() as tx:
            tables = await paid_by(tx, self.cashier.billing.customer_id)
        return {
            name: sorted(self._named(_lasting(row)) for row in rows)
            for name, rows in tables.items()
        }

    def _named(self, row: dict[str, Any]) -> str:
        told = repr(row)
        request = self.request
        names = {
            request.payment_id: "PAYMENT",
            request.payable_id: "ORDER",
            request.customer_id: "CUSTOMER",
            **({self.goods.sku: "SKU", self.goods.coupon_code: "COUPON"} if self.goods else {}),
        }
        for id_, name in names.items():
            told = told.replace(id_, name)
        return re.sub("[0-9a-f]{8}-[0-9a-f-]{27}", "ID", told)


_PASSING = {"id", "event_id", "transaction_id", "created_xid", "idempotency_key", "traceparent"}


def _lasting(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in row.items()
        if name not in _PASSING and name != "at" and not name.endswith("_at")
    }


@pytest.fixture
def twins(cashier: Cashier) -> Callable[[Shape], Awaitable[tuple[Twin, Twin]]]:
    """Two customers that differ in nothing but their names."""

    async def twin(shape: Shape) -> Twin:
        billing = await Billing.for_new_customer(
            cashier.billing.api, cashier.billing.simulator, cashier.billing.database
        )
        billing.asks_no_pg()
        own = replace(cashier, billing=billing)
        goods = await own.goods() if shape.goods else None
        if shape.wallet:
            await billing.top_up(shape.wallet)
        request = await own.prepare(
            shape.wallet, shape.card, two_calls=shape.two_calls, goods=goods
        )
        return Twin(own, request, goods)

    async def both(shape: Shape) -> tuple[Twin, Twin]:
        return await twin(shape), await twin(shape)

    return both


@pytest.fixture
def by_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[Step], Step]:
    """A step whose single statement is never tried."""

    async def never(database: Database, scope: object, *changes: Change) -> bool:
        return False

    def run(step: Step) -> Step:
        async def slowly(request: PaymentRequest) -> None:
            with monkeypatch.context() as patched:
                patched.setattr(change, "at_once", never)
                await step(request)

        return slowly

    return run


def steps_of(database: Database, request: PaymentRequest) -> list[tuple[str, Step]]:
    """Those that set something aside, in the order of the saga."""
    return [
        (name, step)
        for name, step, there in (
            ("coupon", CouponActivities(database).use, request.coupon_code),
            ("order", OrderActivities(database).apply_coupon, request.coupon_code),
            ("stock", InventoryActivities(database).reserve, request.stock),
            ("wallet", WalletActivities(database).hold, request.wallet_amount),
            ("points", PointsActivities(database).deduct, request.points_amount),
        )
        if there
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("before", BEFORE, ids=lambda run: run.__name__.strip("_"))
async def test_every_step_leaves_the_same_rows_both_ways(
    database: Database,
    twins: Callable[[Shape], Awaitable[tuple[Twin, Twin]]],
    by_steps: Callable[[Step], Step],
    shape: Shape,
    before: Run,
) -> None:
    quick, slow = await twins(shape)
    payments = PaymentActivities(database)

    async def complete(request: PaymentRequest) -> None:
        reference = "pg_1" if request.card_amount else None
        await payments.complete(Capture(request, reference))

    for name, step in steps_of(database, quick.request):
        assert await quick.run(step) == await slow.run(by_steps(step)), name
        assert await quick.rows() == await slow.rows(), name
        # Once more, as after an answer that was lost.
        assert await quick.run(step) == await slow.run(by_steps(step)), name
        assert await quick.rows() == await slow.rows(), name
    for twin in (quick, slow):
        await before(database, twin.request)
    assert await quick.run(complete) == await slow.run(by_steps(complete))
    assert await quick.rows() == await slow.rows()


AT_ONCE = [shape for shape in SHAPES if shape.goods and not shape.two_calls]
"""What takes several steps before the pivot."""


@pytest.mark.parametrize("shape", AT_ONCE, ids=str)
async def test_all_steps_at_once_leave_what_they_leave_one_by_one(
    database: Database,
    twins: Callable[[Shape], Awaitable[tuple[Twin, Twin]]],
    by_steps: Callable[[Step], Step],
    shape: Shape,
) -> None:
    quick, slow = await twins(shape)
    set_aside = PaymentActivities(database).set_aside
    assert quick.request.at_once

    assert await set_aside(quick.request)
    for _, step in steps_of(database, slow.request):
        assert await slow.run(by_steps(step)) is None

    done = await quick.rows()
    assert done == await slow.rows()
    assert not await set_aside(quick.request), "once"
    assert await quick.rows() == done


UNDOS: list[Run] = [_coupon_restored, _stock_restored, _hold_released, _points_given_back]


@pytest.mark.parametrize("shape", AT_ONCE, ids=str)
async def test_where_a_run_was_before_nothing_is_set_aside_at_once(
    database: Database, twins: Callable[[Shape], Awaitable[tuple[Twin, Twin]]], shape: Shape
) -> None:
    """It may have done any step, or undone it; each step for itself knows."""
    set_aside = PaymentActivities(database).set_aside
    names = [name for name, _ in steps_of(database, (await twins(shape))[0].request)]
    for name in names:
        for twin in await twins(shape):
            for each, step in steps_of(database, twin.request):
                if each in ("coupon", name) if name == "order" else each == name:
                    await twin.run(step)
            before = await twin.rows()

            assert not await set_aside(twin.request), name
            assert await twin.rows() == before, name
    for undo in UNDOS:
        twin, _ = await twins(shape)
        if undo is _hold_released and not shape.wallet:
            continue
        await undo(database, twin.request)
        before = await twin.rows()

        assert not await set_aside(twin.request), undo
        assert await twin.rows() == before, undo


async def test_of_copies_and_undos_at_once_nothing_is_left(
    database: Database, twins: Callable[[Shape], Awaitable[tuple[Twin, Twin]]]
) -> None:
    """A worker that was frozen sets aside what another one undoes."""
    for _ in range(5):
        twin, _ = await twins(Shape(400, 900, True, False))
        goods = twin.goods
        assert goods is not None
        before = await twin.cashier.holdings(goods)

        await asyncio.gather(
            *(PaymentActivities(database).set_aside(twin.request) for _ in range(3)),
            *(undo(database, twin.request) for undo in UNDOS),
        )
        for undo in UNDOS:
            await undo(database, twin.request)

        assert await twin.cashier.holdings(goods) == before


async def test_an_order_with_everything_is_a_statement_before_the_pivot_and_one_after_it(
    database: Database, twins: Callable[[Shape], Awaitable[tuple[Twin, Twin]]]
) -> None:
    """Its lines come with whoever made the payment; started again by its row, it reads them."""
    twin, again = await twins(Shape(400, 900, True, False))
    payments = PaymentActivities(database)
    async with database.read(SYSTEM) as tx:
        lines = await order.lines(tx, twin.request.payable_id)
    request = replace(twin.request, lines=lines)

    with statements(database) as sent:
        assert await payments.set_aside(request)
        await payments.complete(Capture(request, "pg_1"))
    assert len(sent) == 2
    with statements(database) as sent:
        assert await payments.set_aside(again.request)
        await payments.complete(Capture(again.request, "pg_1"))
    assert len(sent) == 3

    assert await twin.rows() == await again.rows()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def test_what_went_well_completes_by_one_statement(
    database: Database, twins: Callable[[Shape], Awaitable[tuple[Twin, Twin]]], shape: Shape
) -> None:
    twin, _ = await twins(shape)
    for _, step in steps_of(database, twin.request):
        await twin.run(step)

    reference = "pg_1" if shape.card else None
    capture = Capture(twin.request, reference)

    assert await PaymentActivities(database).complete_at_once(capture)
    assert await twin.cashier.status(twin.request) == "COMPLETED"
    assert not await PaymentActivities(database).complete_at_once(capture), "once"


async def test_a_step_that_takes_too_much_takes_nothing(
    database: Database, twins: Callable[[Shape], Awaitable[tuple[Twin, Twin]]]
) -> None:
    quick, slow = await twins(Shape(400, 0, False, False))
    hold = WalletActivities(database).hold
    greedy = [
        replace(each, request=replace(each.request, wallet_amount=401)) for each in (quick, slow)
    ]

    assert [await each.run(hold) for each in greedy] == ["InsufficientFunds"] * 2
    assert await quick.rows() == await slow.rows()
    assert await quick.cashier.billing.balance() == await slow.cashier.billing.balance()


async def test_of_a_completion_and_a_capture_that_is_given_back_one_wins(
    database: Database, cashier: Cashier
) -> None:
    """Both at once, again and again: never both, never neither."""
    cashier.billing.asks_no_pg()
    payments = PaymentActivities(database)
    for _ in range(20):
        request = await cashier.prepare(0, 1000)

        ends = await asyncio.gather(
            payments.complete(Capture(request, "pg_1")),
            payments.record_late_capture(request),
            return_exceptions=True,
        )

        refused = [end for end in ends if end is not None]
        assert len(refused) == 1, ends
        assert isinstance(refused[0], Rejected)


async def test_copies_of_a_step_at_once_have_one_effect(
    database: Database, cashier: Cashier
) -> None:
    billing = cashier.billing
    billing.asks_no_pg()
    await billing.top_up(1000)
    request = await cashier.prepare(400, 600)
    hold, complete = WalletActivities(database).hold, PaymentActivities(database).complete

    await asyncio.gather(*(hold(request) for _ in range(8)))
    await asyncio.gather(*(complete(Capture(request, "pg_1")) for _ in range(8)))

    assert await billing.balance() == (600, 0)
    assert await cashier.status(request) == "COMPLETED"
