"""Wallets in tests: filled with postings beside them, and read both ways."""

from sqlalchemy import func, select

from domain import ledger as accounts
from domain.access import SYSTEM
from domain.ledger import BANK_CLEARING, transfer
from domain.ledger import Transaction as LedgerTransaction
from store import ledger, wallet
from store.database import Database, Transaction
from store.tables import postings
from tests.support.samples import new_customer, new_id


async def credit(tx: Transaction, customer_id: str, currency: str, amount: int) -> None:
    """Money from the bank, as a top-up books it."""
    await wallet.credit(tx, customer_id, currency, amount)
    moved = transfer(BANK_CLEARING, accounts.available(customer_id), currency, amount)
    await ledger.append(tx, LedgerTransaction(f"top-up/{new_id()}", "bank-transfer", moved))


async def a_funded_customer(database: Database, amount: int, currency: str = "KRW") -> str:
    """A customer with this much in the wallet; returns its id."""
    customer_id = new_customer()
    async with database.begin(SYSTEM) as tx:
        await credit(tx, customer_id, currency, amount)
    return customer_id


async def balances(database: Database, customer_id: str) -> dict[str, tuple[int, int]]:
    """(available, held) per currency as the wallet's rows say; without those of nothing."""
    async with database.engine.connect() as tx:
        rows = await wallet.balances(tx, customer_id)
    return {row.currency: (row.available, row.held) for row in rows if row.available or row.held}


async def posted(database: Database, customer_id: str) -> dict[str, tuple[int, int]]:
    """(available, held) per currency as the postings add up to; without sums of nothing."""
    names = [accounts.available(customer_id), accounts.held(customer_id)]
    total = func.sum(postings.c.amount)
    query = select(postings.c.account, postings.c.unit, total).where(postings.c.account.in_(names))
    async with database.engine.connect() as tx:
        rows = (await tx.execute(query.group_by(postings.c.account, postings.c.unit))).all()
    sums = {(account, unit): int(amount) for account, unit, amount in rows}
    found = {
        unit: (sums.get((names[0], unit), 0), sums.get((names[1], unit), 0)) for _, unit in sums
    }
    return {unit: pair for unit, pair in found.items() if any(pair)}
