"""Stock: what is on hand, what is reserved by payments, what could not be given back."""

from sqlalchemy.exc import IntegrityError

from domain.access import SYSTEM, Access
from domain.audit import Action, Entry, Noun, actor, changed
from domain.errors import InvalidRequest, NotFound
from domain.event import JSON
from domain.inventory import Reservation, Stock
from domain.payment import Payment
from domain.saga import INVENTORY_RESERVE
from service.desk import Desk
from store import audit, inventory, payment, saga
from store.database import Transaction


async def put(
    desk: Desk, access: Access, sku: str, on_hand: int, withdrawn: bool
) -> tuple[Stock, bool]:
    """Track a SKU or change its stock; True when it was not tracked. Not below what is reserved."""
    try:
        async with desk.database.begin(access.scope) as tx:
            known = await inventory.find(tx, sku)
            made = await inventory.put(tx, sku, on_hand, withdrawn)
            stock = await _found(tx, sku)
            what = Action.STOCK_CREATED if made else Action.STOCK_CHANGED
            before, after = changed({} if known is None else _terms(known), _terms(stock))
            entry = Entry(actor(access), what, Noun.STOCK, sku, before=before, after=after)
            await audit.append(tx, entry)
            return stock, made
    except IntegrityError as error:
        raise InvalidRequest(f"More than {on_hand} of {sku} are reserved.") from error


def _terms(row: Stock) -> dict[str, JSON]:
    return {"onHand": row.on_hand, "withdrawn": row.withdrawn}


async def get(desk: Desk, access: Access, sku: str) -> Stock:
    """The stock of a tracked SKU; raises `NotFound` for another."""
    async with desk.database.read(access.scope) as tx:
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


async def let_go(desk: Desk, access: Access, payment_id: str, reason: str) -> int:
    """Of stock that a failed payment could not give back somebody knows what became: it waits no
    longer. Returns of how many SKUs; harmless to repeat."""
    async with desk.database.begin(access.scope) as tx:
        row = await payment.find(tx, payment_id)
        if row is None:
            raise NotFound(f"There is no payment {payment_id}.")
        count = await inventory.resolve(tx, payment_id, reason)
        if count:
            await saga.record_undone(tx, payment.request(row, desk.terms.waits), INVENTORY_RESERVE)
            await audit.append(tx, _let_go(access, row, count, reason))
    return count


def _let_go(access: Access, row: Payment, skus: int, reason: str) -> Entry:
    return Entry(
        actor(access),
        Action.STOCK_RESOLVED,
        Noun.PAYMENT,
        row.id,
        row.customer_id,
        after={"skus": skus},
        reason=reason,
    )
