"""The end of a review. It is opened with the status of what it is about: `payment.mark`,
`refund.mark`."""

from temporalio import activity

from domain.access import SYSTEM
from domain.audit import Action, Entry, Noun, system
from domain.review import ClosedReview
from domain.workflow_id import payment_workflow_id, refund_workflow_id
from store import audit, payment, review
from store.database import Database, Transaction


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
            if await review.close(tx, closed) and closed.decided_by is not None:
                await _note(tx, closed)
            written = await review.ended(tx, closed.reference_id)
        if written is None or written.outcome == review.SUPERSEDED:
            return closed
        return written


async def _note(tx: Transaction, closed: ClosedReview) -> None:
    """A person has decided, about a payment or a refund of it."""
    asked = await review.latest(tx, closed.reference_id)
    paid = None if asked is None else await payment.find(tx, asked.payment_id)
    if asked is None or paid is None:
        raise RuntimeError(f"the review of {closed.reference_id} has no row")
    id_ = closed.reference_id
    refunded = id_ != asked.payment_id
    workflow_id = refund_workflow_id(id_) if refunded else payment_workflow_id(id_)
    entry = Entry(
        closed.by or system(workflow_id),
        Action.REFUND_RESOLVED if refunded else Action.PAYMENT_RESOLVED,
        Noun.REFUND if refunded else Noun.PAYMENT,
        id_,
        paid.customer_id,
        before={"question": asked.question},
        after={"outcome": closed.outcome},
        reason=closed.reason,
    )
    await audit.append(tx, entry)
