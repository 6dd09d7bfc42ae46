"""Activities run alone, outside of any workflow."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import select
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from store.database import Transaction
from store.tables import (
    aggregated_usage,
    dead_letters,
    gateway_attempts,
    invoice_lines,
    invoices,
    usage_events,
)
from tests.billing import Billing
from tests.cashier import Cashier
from tests.clean_slate import Totals, read
from tests.dunning import Dunning
from tests.faults import FaultInjector
from tests.months import Months
from tests.workflows.conftest import connections

Argument = TypeVar("Argument")
Result = TypeVar("Result")


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

        async def no_book(payment_id: str) -> Totals:
            return {}

        slate = await read(self._billing, no_book)
        ids = [row["id"] for row in slate.payments]
        async with self._billing.database.engine.connect() as tx:
            query = select(gateway_attempts).where(gateway_attempts.c.payment_id.in_(ids))
            attempts = [dict(row) for row in (await tx.execute(query)).mappings()]
            months = await self._months(tx)
        tables = {name: rows for name, rows in vars(slate).items() if isinstance(rows, tuple)}
        return {
            name: sorted(repr({**row, "published_at": None}) for row in rows)
            for name, rows in {**tables, **months, "attempts": attempts}.items()
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
            "letters": select(dead_letters).where(dead_letters.c.id.in_(mine)),
        }
        found = {name: (await tx.execute(query)).mappings() for name, query in queries.items()}
        return {name: [{**row, "updated_at": None} for row in rows] for name, rows in found.items()}


@pytest.fixture
def twice(billing: Billing) -> Twice:
    return Twice(billing)


@pytest.fixture
def cashier(billing: Billing, temporal_client: Client, faults: FaultInjector) -> Cashier:
    """Makes the rows that activities work on; starts nothing here."""
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
