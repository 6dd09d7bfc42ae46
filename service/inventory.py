"""Stock: what is on hand, what is reserved by payments, what could not be given back."""

from sqlalchemy.exc import IntegrityError

from domain.access import SYSTEM
from domain.errors import InvalidRequest, NotFound
from domain.inventory import Reservation, Stock
from domain.saga import INVENTORY_RESERVE
from service.desk import Desk
from store import inventory, payment, saga
from store.database import Transaction


async def put(desk: Desk, sku: str, on_hand: int, withdrawn: bool) -> tuple[Stock, bool]:
    """Track a SKU or change its stock; True when it was not tracked. Not below what is reserved."""
    try:
        async with desk.database.begin(SYSTEM) as tx:
            made = await inventory.put(tx, sku, on_hand, withdrawn)
            return await _found(tx, sku), made
    except IntegrityError as error:
        raise InvalidRequest(f"More than {on_hand} of {sku} are reserved.") from error


async def get(desk: Desk, sku: str) -> Stock:
    """The stock of a tracked SKU; raises `NotFound` for another."""
    async with desk.database.read(SYSTEM) as tx:
        return await _found(tx, sku)


async def _found(tx: Transaction, sku: str) -> Stock:
    stock = await inventory.find(tx, sku)
    if stock is None:
        raise NotFound(f"{sku} is not tracked.")
    return stock


async def in_review(desk: Desk) -> list[Reservation]:
    """What failed payments could not give back, and a person must see to."""
    async with desk.database.read(SYSTEM) as tx:
        return await inventory.in_review(tx)


async def let_go(desk: Desk, payment_id: str, reason: str) -> int:
    """Of stock that a failed payment could not give back somebody knows what became: it waits no
    longer. Returns of how many SKUs; harmless to repeat."""
    async with desk.database.begin(SYSTEM) as tx:
        row = await payment.find(tx, payment_id)
        if row is None:
            raise NotFound(f"There is no payment {payment_id}.")
        count = await inventory.resolve(tx, payment_id, reason)
        if count:
            await saga.record_undone(tx, payment.request(row, desk.terms.waits), INVENTORY_RESERVE)
    return count
