"""Payments whose rows are made first and whose workflow is started later: so that a test can plan
faults for a payment before it begins."""

from dataclasses import dataclass, field, replace
from typing import Any

from temporalio.client import Client, WorkflowHandle

from domain.access import SYSTEM
from domain.payment import Method, PayableType, PaymentOutcome, PaymentRequest, StockLine
from domain.refund import RefundOutcome, RefundRequest
from domain.waits import Waits
from domain.workflow_id import payment_workflow_id, refund_workflow_id
from service.starts import start_payment, start_refund
from store import order, payment, refund
from tests.support.billing import GOOD_CARD, Billing
from tests.support.faults import Fault, FaultInjector, Parked
from tests.support.samples import new_id
from workflows.payment_saga import PaymentSaga

WAITS = Waits().scaled(20)
"""As in production, 20 times faster: sent again after 0.1 s, for 45 s."""

Handle = WorkflowHandle[PaymentSaga, PaymentOutcome]

Planned = PaymentRequest | RefundRequest

TWO_CALLS = "simulator-two-calls"


@dataclass(frozen=True)
class Goods:
    """One piece of a tracked SKU, paid in part by a coupon and by points."""

    sku: str
    coupon_code: str
    discount: int = 500
    points: int = 300


@dataclass(frozen=True)
class Cashier:
    """Pays orders of one customer, and plans what shall go wrong."""

    billing: Billing
    client: Client
    faults: FaultInjector
    waits: Waits = field(default=WAITS)

    async def prepare(
        self,
        wallet: int = 0,
        card: int = 0,
        *,
        number: str = GOOD_CARD,
        gateway: str = "simulator",
        two_calls: bool = False,
        waits: Waits | None = None,
        order_id: str | None = None,
        goods: Goods | None = None,
    ) -> PaymentRequest:
        """Everything that the API does before it starts the workflow."""
        if goods is not None:
            order_id = order_id or await self._order(wallet + card, goods)
        request = PaymentRequest(
            payment_id=new_id(),
            payable_type=PayableType.ORDER,
            payable_id=order_id or await self.billing.order(max(1, wallet + card)),
            customer_id=self.billing.customer_id,
            currency="KRW",
            wallet_amount=wallet,
            card_amount=card,
            points_amount=goods.points if goods else 0,
            coupon_code=goods.coupon_code if goods else "",
            discount=goods.discount if goods else 0,
            stock=(StockLine(goods.sku, 1),) if goods else (),
            gateway=gateway if card else "",
            billing_key=f"bk_{number}" if card else "",
            two_calls=two_calls or gateway == TWO_CALLS,
            new=True,
            waits=waits or self.waits,
        )
        method = Method.SPLIT if wallet and card else Method.CARD if card else Method.WALLET
        async with self.billing.database.begin(SYSTEM) as tx:
            assert await order.begin_paying(tx, request.payable_id)
            await payment.create(tx, request, method)
        return request

    async def goods(self, pieces: int = 5) -> Goods:
        """A coupon, pieces in stock, and points enough for one order."""
        billing, goods = self.billing, Goods(await self.billing.put_stock(pieces), "")
        await billing.give_points(goods.points)
        return replace(goods, coupon_code=await billing.put_coupon())

    async def _order(self, money: int, goods: Goods) -> str:
        amount = money + goods.points + goods.discount
        more = {"couponCode": goods.coupon_code, "points": goods.points}
        made = await self.billing.order_of(goods.sku, amount, **more)
        assert (made["discount"], made["payable"]) == (goods.discount, money)
        return str(made["id"])

    async def holdings(self, goods: Goods) -> dict[str, Any]:
        """What an order can take from: compared before and after it."""
        billing = self.billing
        stock = await billing.get(f"/api/v1/inventory/{goods.sku}")
        coupon = await billing.get(f"/api/v1/coupons/{goods.coupon_code}")
        points = await billing.get(f"/api/v1/points?customerId={billing.customer_id}")
        return {
            "stock": (stock["onHand"], stock["reserved"]),
            "coupon": coupon["used"],
            "points": (points["available"], points["held"]),
            "wallet": await billing.balance(),
        }

    async def start(self, request: PaymentRequest) -> Handle:
        return await start_payment(self.client, request)

    async def pay(self, request: PaymentRequest) -> PaymentOutcome:
        """Start the workflow and wait for its end."""
        return await (await self.start(request)).result()

    async def prepare_refund(
        self, paid: PaymentRequest, card: int, wallet: int = 0, *, reason: str = "returned"
    ) -> RefundRequest:
        """The same for a refund of a completed payment."""
        request = RefundRequest(
            refund_id=new_id(),
            payment_id=paid.payment_id,
            customer_id=paid.customer_id,
            currency=paid.currency,
            card_amount=card,
            wallet_amount=wallet,
            gateway=paid.gateway,
            reason=reason,
            waits=paid.waits,
        )
        async with self.billing.database.begin(SYSTEM) as tx:
            await payment.reserve_refund(tx, request)
            assert await refund.create(tx, request)
        return request

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """Start the refund's workflow and wait for its end."""
        return await (await start_refund(self.client, request)).result()

    def plan(self, request: Planned, step: str, fault: Fault, times: int = 1) -> Parked:
        """The next executions of this step meet the fault."""
        return self.faults.plan(workflow_id(request), step, fault, times)

    def calls(self, request: Planned) -> list[str]:
        """The activities that ran, in order, each as often as it ran."""
        return self.faults.calls[workflow_id(request)]

    async def misbehave(self, request: PaymentRequest, behaviour: str, **more: object) -> None:
        """Tell the gateway simulator what to do to the next call about this payment."""
        entry = {"behaviour": behaviour, "orderId": request.payment_id, **more}
        answer = await self.billing.simulator.post("/control/behaviours", json=entry)
        assert answer.status_code == 201, answer.text

    async def status(self, request: PaymentRequest) -> str:
        """As the API answers it."""
        found = await self.billing.get(f"/api/v1/payments/{request.payment_id}")
        return str(found["status"])


def workflow_id(request: Planned) -> str:
    if isinstance(request, RefundRequest):
        return refund_workflow_id(request.refund_id)
    return payment_workflow_id(request.payment_id)
