"""Applying a coupon to its order, and taking it off again."""

from temporalio import activity

from domain.access import SYSTEM
from domain.coupon import CouponUseState
from domain.errors import CouponNotApplicable, HoldReleased
from domain.payment import PaymentRequest
from domain.saga import ORDER_APPLY_COUPON, StepState
from store import change, coupon, order, saga
from store.database import Database


class OrderActivities:
    """One transaction each; safe to run any number of times."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="order.apply_coupon")
    async def apply_coupon(self, payment: PaymentRequest) -> None:
        """Confirm the discount that was fixed when the order was made, for this payment."""
        code, discount = payment.coupon_code, payment.discount
        in_use = coupon.locking_use(payment.payment_id)
        applied = order.applying_coupon(payment.payable_id, payment.payment_id, code, discount)
        done = saga.recording(payment, {ORDER_APPLY_COUPON: StepState.DONE})
        if await change.at_once(self._database, SYSTEM, in_use, applied, *done):
            return
        async with self._database.begin(SYSTEM) as tx:
            # Locks the use, so that giving it back waits for us, or we for it.
            if await coupon.lock_use(tx, payment.payment_id) is not CouponUseState.IN_USE:
                raise HoldReleased("An earlier run of this payment gave its coupon back.")
            if not await order.apply_coupon(
                tx, payment.payable_id, payment.payment_id, code, discount
            ):
                raise CouponNotApplicable(f"The order does not carry coupon {code} any more.")
            await saga.record(tx, payment, {ORDER_APPLY_COUPON: StepState.DONE})

    @activity.defn(name="order.remove_coupon")
    async def remove_coupon(self, payment: PaymentRequest) -> None:
        """Take the coupon off again if this payment applied it."""
        async with self._database.begin(SYSTEM) as tx:
            if await order.remove_coupon(tx, payment.payable_id, payment.payment_id):
                await saga.record_undone(tx, payment, ORDER_APPLY_COUPON)
