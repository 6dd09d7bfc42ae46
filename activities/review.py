"""The end of a review. It is opened with the status of what it is about: `payment.mark`,
`refund.mark`."""

from temporalio import activity

from domain.access import SYSTEM
from domain.review import ClosedReview
from store import review
from store.database import Database


class ReviewActivities:
    """Safe to run any number of times: what is decided stays."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="review.close")
    async def close(self, closed: ClosedReview) -> ClosedReview:
        """Note how it ended, and who decided; returns how it did end. A workflow task that is done
        again may meet the answers in another order: the first that was written counts. One that
        another run has superseded tells nothing."""
        async with self._database.begin(SYSTEM) as tx:
            await review.close(tx, closed)
            written = await review.ended(tx, closed.reference_id)
        if written is None or written.outcome == review.SUPERSEDED:
            return closed
        return written
