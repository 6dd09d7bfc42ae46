"""Which customers a run settles, and what it notes of itself and of them."""

from temporalio import activity

from domain.access import SYSTEM
from domain.run import Begun, CustomerPage
from store import clock, settlement
from store.database import Database

STILL_UNDER_WAY = "still under way when the run went on without it"


class SettlementRunActivities:
    """Safe to run any number of times."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="settlement.begin_run")
    async def begin(self, page: CustomerPage) -> Begun:
        """Note that the run has begun, and count its customers. A run of named customers is not the
        month's run: the report keeps what that one was."""
        async with self._database.begin(SYSTEM) as tx:
            if page.customers is not None:
                return Begun(len(set(page.customers)), await clock.now(tx))
            at = await settlement.begin_run(tx, page.period)
            return Begun(await settlement.count_customers(tx), at)

    @activity.defn(name="settlement.end_run")
    async def end(self, period: str) -> None:
        """Note that the run has ended."""
        async with self._database.begin(SYSTEM) as tx:
            await settlement.end_run(tx, period)

    @activity.defn(name="settlement.next_customers")
    async def next_customers(self, page: CustomerPage) -> list[str]:
        """The next customers of the run, in id order."""
        if page.customers is not None:
            left = sorted({each for each in page.customers if each > (page.after or "")})
            return left[: page.limit]
        async with self._database.read(SYSTEM) as tx:
            return await settlement.customers_after(tx, page.after, page.limit)

    @activity.defn(name="settlement.ended_among")
    async def ended_among(self, page: CustomerPage) -> list[str]:
        """Those of these customers that the run need not wait for any more."""
        async with self._database.read(SYSTEM) as tx:
            return await settlement.ended_among(tx, page.period, page.customers or (), page.began)

    @activity.defn(name="settlement.leave_behind")
    async def leave_behind(self, page: CustomerPage) -> None:
        """Note the customers that the run did not wait for, so that the report names them until
        their settlement has ended."""
        async with self._database.begin(SYSTEM) as tx:
            left = page.customers or ()
            await settlement.leave_behind(tx, page.period, left, STILL_UNDER_WAY, page.began)
