"""Clean slate: all that is known of one customer, compared once nothing of it is under way.

Our rows, our ledger, our events and the book of the payment gateway (PG) must tell one story: each
payment took everything once, or nothing. What must be so at any moment are the product's own
invariants (`billing verify`); what is so only at rest stands here.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from sqlalchemy import select, text

from domain import points
from domain.access import SYSTEM
from domain.payment import PayableType, PaymentStatus
from domain.verification import PROMISES, Booked, Finding, Moved, disagreements
from gateway.book import HttpBook
from service.verification import prices
from store import verification
from store.database import Database, Transaction
from store.tables import payments
from tests.support.billing import WITHOUT_PG, WITHOUT_RESIDUE, Billing

Totals = Mapping[str, Mapping[str, int]]
"""Per currency: `captured` and `refunded`."""

Book = Callable[[str], Awaitable[Totals]]
"""What the PG's own book says of a payment."""


class Residue(AssertionError):
    """Two of our books differ, or something was left behind."""


async def assert_clean_slate(billing: Billing, book: Book | None = None) -> None:
    """Compare everything; raises one `Residue` that names every difference."""
    async with billing.database.read(SYSTEM) as tx:
        differences = [
            *[each async for each in _under_way(tx, billing.customer_id)],
            *[each async for each in _not_as_stocked(tx, billing.stocked)],
            *[each async for each in _not_earned(tx, billing.customer_id)],
            *[each async for each in _violations(tx, billing.customer_id)],
            *await _not_in_the_book(tx, billing, book or _of_simulator(billing)),
        ]
    if differences:
        raise Residue("\n".join(differences))


async def assert_everything_agrees(database: Database, book: HttpBook) -> None:
    """The same of every customer of this test process whose test left nothing wrong on purpose, as
    far as it holds while payments are under way; raises one `Residue`."""
    customers = sorted(WITHOUT_RESIDUE)
    async with database.read(SYSTEM) as tx:
        differences = [each async for each in _violations(tx, *customers)]
        theirs = await book.moves()
        ours = await _booked(tx, *(WITHOUT_RESIDUE - WITHOUT_PG))
    of_ours = {id_: moves for id_, moves in theirs.items() if id_ in ours}
    differences += [f"{id_}: {words}" for id_, words in disagreements(ours, of_ours).items()]
    if differences:
        raise Residue("\n".join(differences))


async def findings(tx: Transaction, *customers: str) -> list[Finding]:
    """Every invariant that our own database tells, of these customers."""
    found = [await verification.look(tx, each, customers) for each in verification.INVARIANTS]
    return [*found, await prices(tx, customers)]


async def _violations(tx: Transaction, *customers: str) -> AsyncIterator[str]:
    for finding in await findings(tx, *customers):
        for each in finding.first:
            yield f"{finding.invariant}: {each.id}: {each.wrong} ({PROMISES[finding.invariant]})"


_UNDER_WAY = text("""
SELECT 'payment ' || id || ' is ' || status FROM payments
WHERE customer_id = :customer_id AND status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
UNION ALL
SELECT 'refund ' || id || ' is ' || status FROM refunds
WHERE customer_id = :customer_id AND status NOT IN ('COMPLETED', 'FAILED')
UNION ALL
SELECT 'a person is asked about ' || v.reference_id || ': ' || v.reason
FROM reviews v JOIN payments p ON p.id = v.payment_id
WHERE p.customer_id = :customer_id AND v.closed_at IS NULL
UNION ALL
SELECT held || ' ' || currency || ' are set aside' FROM wallets
WHERE customer_id = :customer_id AND held <> 0
UNION ALL
SELECT r.quantity || ' of ' || r.sku || ' could not be given back'
FROM stock_reservations r JOIN payments p ON p.id = r.payment_id
WHERE p.customer_id = :customer_id AND r.state = 'NEEDS_REVIEW'
UNION ALL
SELECT 'of ' || t.payment_id || ' ' || sum(l.amount) || ' ' || l.unit || ' are in suspense'
FROM postings l JOIN ledger_transactions t ON t.id = l.transaction_id
JOIN payments p ON p.id = t.payment_id
WHERE p.customer_id = :customer_id AND l.account = 'suspense:late-captures'
GROUP BY t.payment_id, l.unit HAVING sum(l.amount) <> 0
""")


async def _under_way(tx: Transaction, customer_id: str) -> AsyncIterator[str]:
    for (words,) in await tx.execute(_UNDER_WAY, {"customer_id": customer_id}):
        yield f"nothing_is_under_way: {words}"


_ON_HAND = text("""
SELECT i.on_hand + COALESCE(sum(r.quantity), 0)
FROM inventory i LEFT JOIN stock_reservations r ON r.sku = i.sku AND r.state = 'COMMITTED'
WHERE i.sku = :sku GROUP BY i.sku
""")


async def _not_as_stocked(tx: Transaction, stocked: Mapping[str, int]) -> AsyncIterator[str]:
    """What was put in stock is on hand or sold; only the test knows how much that was."""
    for sku, put in stocked.items():
        found = await tx.scalar(_ON_HAND, {"sku": sku})
        if found != put:
            yield f"of {put} {sku} there are {found} on hand or sold"


async def _not_earned(tx: Transaction, customer_id: str) -> AsyncIterator[str]:
    """An order earned what it earns today; an older one may have earned by another rate."""
    query = select(payments).where(payments.c.customer_id == customer_id)
    for paid in await tx.execute(query):
        is_order = paid.payable_type == PayableType.ORDER
        done = paid.status == PaymentStatus.COMPLETED
        money = paid.wallet_amount + paid.card_amount
        due = points.earned(paid.currency, money) if done and is_order else 0
        if paid.points_earned != due:
            yield f"payment {paid.id} earned {paid.points_earned} points instead of {due}"


async def _not_in_the_book(tx: Transaction, billing: Billing, book: Book) -> list[str]:
    ours = await _booked(tx, billing.customer_id)
    theirs = {id_: _moves(await book(id_)) for id_ in ours}
    return [f"{id_}: {words}" for id_, words in disagreements(ours, theirs).items()]


async def _booked(tx: Transaction, *customers: str) -> dict[str, Booked]:
    """Whatever a test calls its gateways: all of them are the simulator."""
    query = select(payments.c.gateway).where(payments.c.customer_id.in_(customers))
    gateways = (await tx.execute(query.distinct())).scalars().all()
    return await verification.at_gateways(tx, gateways, customers=customers)


def _moves(totals: Totals) -> dict[str, Moved]:
    moves = {currency: Moved(**moved) for currency, moved in totals.items()}
    return {currency: moved for currency, moved in moves.items() if moved != Moved()}


def _of_simulator(billing: Billing) -> Book:
    async def book(payment_id: str) -> Totals:
        totals: Totals = (await billing.book(payment_id))["totals"]
        return totals

    return book
