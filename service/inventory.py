"""Stock: what is on hand, what is reserved by payments, what could not be given back."""

from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError

from domain.errors import InvalidRequest, NotFound
from domain.order import OrderStatus
from domain.saga import INVENTORY_RESERVE, StepState
from service.desk import Desk
from store import inventory, payment, saga


async def put(desk: Desk, sku: str, on_hand: int, withdrawn: bool) -> tuple[Row[Any], bool]:
    """Track a SKU or change its stock; True when it was not tracked. Not below what is reserved."""
    try:
        async with desk.database.begin() as tx:
            made = await inventory.put(tx, sku, on_hand, withdrawn)
            row: Any = await inventory.find(tx, sku)
    except IntegrityError as error:
        raise InvalidRequest(f"More than {on_hand} of {sku} are reserved.") from error
    return row, made


async def get(desk: Desk, sku: str) -> Row[Any]:
    """The stock of a tracked SKU; raises `NotFound` for another."""
    async with desk.reads.connect() as tx:
        row = await inventory.find(tx, sku)
    if row is None:
        raise NotFound(f"{sku} is not tracked.")
    return row


async def let_go(desk: Desk, payment_id: str, reason: str) -> int:
    """Of stock that a failed payment could not give back somebody knows what became: it waits no
    longer. Returns of how many SKUs; harmless to repeat."""
    async with desk.database.begin() as tx:
        row = await payment.find(tx, payment_id)
        if row is None:
            raise NotFound(f"There is no payment {payment_id}.")
        count = await inventory.resolve(tx, payment_id, reason)
        if count:
            undone = {INVENTORY_RESERVE: StepState.UNDONE}
            request = payment.request(row, desk.terms.waits)
            await saga.record(tx, request, undone, order_status=OrderStatus.FAILED)
    return count
