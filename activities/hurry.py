"""Who waits for a payment gateway, page by page."""

from temporalio import activity

from domain.access import SYSTEM
from domain.gateway_health import HINTS_A_SECOND, HurryPage, HurryRequest
from store import waiting
from store.database import Database


class HurryActivities:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="hurry.next")
    async def next(self, hurry: HurryRequest) -> HurryPage:
        """Those who may be hinted within the next second."""
        async with self._database.read(SYSTEM) as tx:
            found = await waiting.page(tx, hurry.gateway, hurry.after, HINTS_A_SECOND)
        more = len(found) == HINTS_A_SECOND
        return HurryPage(tuple(each.workflow_id for each in found), found[-1].id if more else None)
