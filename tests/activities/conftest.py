"""Activities run alone, outside of any workflow."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import or_, select
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from store.database import Transaction
from store.tables import (
    aggregated_usage,
    coupon_uses,
    coupons,
    dead_letters,
    gateway_attempts,
    inventory,
    invoice_lines,
    invoices,
    ledger_transactions,
    orders,
    outbox,
    payments,
    postings,
    refunds,
    reviews,
    saga_steps,
    stock_reservations,
    usage_events,
    wallet_holds,
    wallets,
)
from tests.support.billing import Billing
from tests.support.cashier import Cashier
from tests.support.dunning import Dunning
from tests.support.faults import FaultInjector
from tests.support.months import Months
from tests.workflows.conftest import connections

OF_THE_CUSTOMER = (wallets, orders, payments, outbox)
OF_THE_PAYMENTS = (
    refunds,
    wallet_holds,
    coupon_uses,
    stock_reservations,
    reviews,
    gateway_attempts,
)

Argument = TypeVar("Argument")
Result = TypeVar("Result")


async def paid_by(tx: Transaction, customer_id: str) -> dict[str, list[dict[str, Any]]]:
    """Orders, payments and refunds of a customer with all that they have moved: rows by table."""
    mine = select(payments.c.id).where(payments.c.customer_id == customer_id)
    touching = (
        select(postings.c.transaction_id)
        .join_from(postings, ledger_transactions)
        .where(
            or_(
                postings.c.account.startswith(f"wallet:{customer_id}:", autoescape=True),
                ledger_transactions.c.payment_id.in_(mine),
            )
        )
    )
    codes = select(coupon_uses.c.code).where(coupon_uses.c.payment_id.in_(mine))
    skus = select(stock_reservations.c.sku).where(stock_reservations.c.payment_id.in_(mine))
    queries = [
        *(select(each).where(each.c.customer_id == customer_id) for each in OF_THE_CUSTOMER),
        *(select(each).where(each.c.payment_id.in_(mine)) for each in OF_THE_PAYMENTS),
        select(saga_steps).where(saga_steps.c.saga_id.in_(mine)),
        select(postings, ledger_transactions.c.key)
        .join_from(postings, ledger_transactions)
        .where(postings.c.transaction_id.in_(touching)),
        select(coupons).where(coupons.c.code.in_(codes)),
        select(inventory).where(inventory.c.sku.in_(skus)),
    ]
    return {
        str(query.get_final_froms()[0]): [dict(row) for row in (await tx.execute(query)).mappings()]
        for query in queries
    }


class Twice:
    """Runs an activity and then runs it again, as Temporal does when an answer is lost."""

    def __init__(self, billing: Billing) -> None:
        self._billing = billing
        self._environment = ActivityEnvironment()

    async def __call__(
        self, activity: Callable[[Argument], Awaitable[Result]], argument: Argument
    ) -> Result:
        """The second run must answer the same and leave everything as the first one left it."""
        first = await self._environment.run(activity, argument)
        after_first = await self._everything()
        second = await self._environment.run(activity, argument)
        assert second == first
        assert await self._everything() == after_first
        return first

    async def raises(
        self, activity: Callable[[Argument], Awaitable[object]], argument: Argument
    ) -> type[Exception]:
        """The type of the error with which both runs end, changing nothing."""
        before = await self._everything()
        kinds: list[type[Exception]] = []
        for _ in range(2):
            try:
                await self._environment.run(activity, argument)
            except Exception as error:
                kinds.append(type(error))
            assert await self._everything() == before
        (kind,) = set(kinds)
        assert len(kinds) == 2
        return kind

    async def _everything(self) -> dict[str, list[str]]:
        """Every row of the customer. That an event was published meanwhile is not our doing."""
        async with self._billing.database.engine.connect() as tx:
            paid = await paid_by(tx, self._billing.customer_id)
            everything = {**paid, **await self._months(tx)}
        return {
            name: sorted(repr({**row, "published_at": None}) for row in rows)
            for name, rows in everything.items()
        }

    async def _months(self, tx: Transaction) -> dict[str, list[dict[str, Any]]]:
        """Invoices with all that is theirs. A draft that is made anew is another one only by when
        it was made."""
        mine = select(invoices.c.id).where(invoices.c.customer_id == self._billing.customer_id)
        queries = {
            "invoices": select(invoices).where(invoices.c.id.in_(mine)),
            "lines": select(invoice_lines).where(invoice_lines.c.invoice_id.in_(mine)),
            "aggregates": select(aggregated_usage).where(aggregated_usage.c.invoice_id.in_(mine)),
            "usage": select(usage_events).where(
                usage_events.c.customer_id == self._billing.customer_id
            ),
            "letters": select(dead_letters).where(
                dead_letters.c.customer_id == self._billing.customer_id
            ),
        }
        found = {name: (await tx.execute(query)).mappings() for name, query in queries.items()}
        return {name: [{**row, "updated_at": None} for row in rows] for name, rows in found.items()}


@pytest.fixture
def twice(billing: Billing) -> Twice:
    return Twice(billing)


@pytest.fixture
def cashier(billing: Billing, temporal_client: Client, faults: FaultInjector) -> Cashier:
    """Makes the rows that activities work on; starts nothing here."""
    billing.asks_no_pg()
    return Cashier(billing, temporal_client, faults)


@pytest.fixture
def dunning(billing: Billing, temporal_client: Client, faults: FaultInjector) -> Dunning:
    """Makes the invoices that activities work on; starts nothing here."""
    return Dunning(billing, temporal_client, faults)


@pytest.fixture
def months(billing: Billing, temporal_client: Client, faults: FaultInjector) -> Months:
    """The same for price lists and usage."""
    return Months(billing, temporal_client, faults)


__all__ = ["Twice", "cashier", "connections", "twice"]
