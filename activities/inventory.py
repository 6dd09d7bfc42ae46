"""Reserving stock for an order, and giving it back."""

from temporalio import activity

from domain.access import SYSTEM
from domain.errors import HoldReleased, OutOfStock
from domain.payment import PaymentRequest, StockLine
from domain.saga import INVENTORY_RESERVE, StepState
from store import change, inventory, saga
from store.database import Database, Transaction


class InventoryActivities:
    """One transaction each; safe to run any number of times."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="inventory.reserve")
    async def reserve(self, payment: PaymentRequest) -> None:
        """Set stock aside for every tracked SKU, or for none; raises `OutOfStock`."""
        taken = inventory.reserving(payment.payment_id, payment.stock)
        done = saga.recording(payment, {INVENTORY_RESERVE: StepState.DONE})
        if await change.at_once(self._database, SYSTEM, *taken, *done):
            return
        async with self._database.begin(SYSTEM) as tx:
            there = await inventory.reservations(tx, payment.payment_id)
            if not inventory.HELD.issuperset(there.values()):
                raise HoldReleased("An earlier run of this payment gave its stock back.")
            if there:
                return
            for line in payment.stock:
                await _reserve(tx, payment.payment_id, line)
            await saga.record(tx, payment, {INVENTORY_RESERVE: StepState.DONE})

    @activity.defn(name="inventory.restore")
    async def restore(self, payment: PaymentRequest) -> None:
        """Give the stock back; what belongs to a withdrawn SKU waits for a person instead."""
        async with self._database.begin(SYSTEM) as tx:
            await inventory.bury(tx, payment.payment_id, payment.stock)
            restored, stuck = await inventory.restore(tx, payment.payment_id)
            if stuck:
                state = StepState.NEEDS_REVIEW
                await saga.record_undone(tx, payment, INVENTORY_RESERVE, state=state)
            elif restored:
                await saga.record_undone(tx, payment, INVENTORY_RESERVE)


async def _reserve(tx: Transaction, payment_id: str, line: StockLine) -> None:
    if await inventory.reserve(tx, payment_id, line):
        return
    stock = await inventory.find(tx, line.sku)
    left = 0 if stock is None else stock.available
    raise OutOfStock(f"{line.quantity} of {line.sku} are wanted, {left} are available.")
