"""Activities run alone, outside of any workflow."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from sqlalchemy import select
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from store.tables import gateway_attempts
from tests.billing import Billing
from tests.cashier import Cashier
from tests.clean_slate import Totals, read
from tests.faults import FaultInjector
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
        async with self._billing.database.connect() as tx:
            query = select(gateway_attempts).where(gateway_attempts.c.payment_id.in_(ids))
            attempts = [dict(row) for row in (await tx.execute(query)).mappings()]
        tables = {name: rows for name, rows in vars(slate).items() if isinstance(rows, tuple)}
        return {
            name: sorted(repr({**row, "published_at": None}) for row in rows)
            for name, rows in {**tables, "attempts": attempts}.items()
        }


@pytest.fixture
def twice(billing: Billing) -> Twice:
    return Twice(billing)


@pytest.fixture
def cashier(billing: Billing, temporal_client: Client, faults: FaultInjector) -> Cashier:
    """Makes the rows that activities work on; starts nothing here."""
    return Cashier(billing, temporal_client, faults)


__all__ = ["Twice", "cashier", "connections", "twice"]
