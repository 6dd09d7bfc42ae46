"""Setting points aside for an order, and giving them back. Points are a wallet in unit `POINT`."""

from temporalio import activity

from domain.access import SYSTEM
from domain.errors import HoldReleased, InsufficientPoints
from domain.funding import Kind
from domain.payment import PaymentRequest
from domain.saga import POINTS_DEDUCT, StepState
from domain.wallet import HoldState
from store import change, ledger, saga, wallet
from store.database import Database


class PointsActivities:
    """One transaction each; safe to run any number of times."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="points.deduct")
    async def deduct(self, payment: PaymentRequest) -> None:
        """Take the points from what the customer can spend, once; raises `InsufficientPoints`."""
        wanted = payment.hold(Kind.POINTS)
        held = (wallet.holding(wanted), ledger.appending(wanted.taken()))
        done = saga.recording(payment, {POINTS_DEDUCT: StepState.DONE})
        if await change.at_once(self._database, SYSTEM, *held, *done):
            return
        async with self._database.begin(SYSTEM) as tx:
            if await wallet.hold(tx, wanted):
                await saga.record(tx, payment, {POINTS_DEDUCT: StepState.DONE})
                return
            state = await wallet.hold_state(tx, wanted)
            if state is None:
                raise InsufficientPoints(f"The customer has fewer than {wanted.amount} points.")
            if state is HoldState.RELEASED:
                raise HoldReleased("An earlier run of this payment gave its points back.")

    @activity.defn(name="points.give_back")
    async def give_back(self, payment: PaymentRequest) -> None:
        """Give the points back if they were taken; a deduction that comes later does nothing."""
        async with self._database.begin(SYSTEM) as tx:
            if await wallet.release(tx, payment.hold(Kind.POINTS)):
                await saga.record_undone(tx, payment, POINTS_DEDUCT)
