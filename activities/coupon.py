"""Using a coupon, and giving it back."""

from temporalio import activity

from domain.access import SYSTEM
from domain.coupon import CouponUseState, check_window
from domain.errors import CouponNotApplicable, CouponNotIssued, HoldReleased
from domain.payment import PaymentRequest
from domain.saga import COUPON_USE, ORDER_APPLY_COUPON, StepState
from store import change, clock, coupon, order, saga
from store.database import Database, Transaction


class CouponActivities:
    """One transaction each; safe to run any number of times."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="coupon.use")
    async def use(self, payment: PaymentRequest) -> None:
        """Take the coupon's place in its limits, once; raises `CouponNotApplicable`."""
        taken = coupon.using(payment.payment_id, payment.coupon_code, payment.customer_id)
        done = saga.recording(payment, {COUPON_USE: StepState.DONE})
        if await change.at_once(self._database, SYSTEM, taken, *done):
            return
        async with self._database.begin(SYSTEM) as tx:
            state = await coupon.use_state(tx, payment.payment_id)
            if state is CouponUseState.RESTORED:
                raise HoldReleased("An earlier run of this payment gave its coupon back.")
            if state is None:
                await _use(tx, payment)
                await saga.record(tx, payment, {COUPON_USE: StepState.DONE})

    @activity.defn(name="coupon.restore")
    async def restore(self, payment: PaymentRequest) -> None:
        """Give the coupon back if it is in use; a use that comes later is refused."""
        async with self._database.begin(SYSTEM) as tx:
            code, customer = payment.coupon_code, payment.customer_id
            if await coupon.restore(tx, payment.payment_id, code, customer):
                # Here too: a late `order.apply_coupon` could have come after its own undo.
                late = await order.remove_coupon(tx, payment.payable_id, payment.payment_id)
                steps = [ORDER_APPLY_COUPON, COUPON_USE] if late else [COUPON_USE]
                await saga.record_undone(tx, payment, *steps)


async def _use(tx: Transaction, payment: PaymentRequest) -> None:
    code, customer = payment.coupon_code, payment.customer_id
    found = await coupon.take_place(tx, code)
    if found is None:
        raise CouponNotApplicable(f"Coupon {code} is used up.")
    check_window(found, await clock.now(tx))
    uses = await coupon.live_uses(tx, code, customer)
    if found.customer_limit is not None and uses >= found.customer_limit:
        raise CouponNotApplicable(f"{customer} has used coupon {code} as often as one may.")
    if found.issue_limit is not None and uses >= await coupon.claims(tx, code, customer):
        raise CouponNotIssued(f"{customer} has no claimed coupon {code} left.")
    await coupon.begin_use(tx, payment.payment_id, code, customer)
