"""What speaks against a person's answer to a review, and who has answered it."""

from api.context import Context
from domain.decision import Decided
from domain.errors import Rejected
from domain.review import Outcome, check
from store import review
from store.database import Transaction


async def refusal(tx: Transaction, reference_id: str, outcome: Outcome) -> Rejected | None:
    """None when this answers the question that waits about a payment or refund."""
    asked = await review.latest(tx, reference_id)
    question = None if asked is None else asked.question
    try:
        check(question, None if asked is None else asked.outcome, outcome)
    except Rejected as refused:
        return refused
    return None


async def decided(context: Context, reference_id: str, update_id: str) -> Decided | None:
    """How the review ended that this Update has answered, or else the last one; None while that
    waits. A payment can be asked about more than once."""
    async with context.reads.connect() as tx:
        answered = await review.ended_by(tx, reference_id, update_id)
        closed = answered or await review.ended(tx, reference_id)
    return None if closed is None else Decided(closed.outcome, closed.decided_by or "")
