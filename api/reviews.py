"""What speaks against a person's answer, as the review stands."""

from domain.errors import Rejected
from domain.review import Outcome, Question, check
from store import review
from store.database import Transaction


async def refusal(tx: Transaction, reference_id: str, outcome: Outcome) -> Rejected | None:
    """None when this answers the question that waits about a payment or refund."""
    asked = await review.latest(tx, reference_id)
    question = None if asked is None else Question(asked.question)
    try:
        check(question, None if asked is None else asked.outcome, outcome)
    except Rejected as refused:
        return refused
    return None
