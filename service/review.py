"""What waits for a person, what speaks against an answer, and who has answered."""

from dataclasses import replace

from domain.access import Access
from domain.audit import Noun, actor
from domain.decision import Decided
from domain.errors import Rejected
from domain.review import ListedReview, Outcome, Resolution, Wanted, check
from service.audit import looked_through
from service.call import Call
from service.desk import Desk
from service.owner import Update, update_id
from store import review
from store.database import Transaction
from store.page import Page, Place

_ASKS_FIRST = (
    "Its workflow asks the gateway once more before it waits for you: repeat this in a minute."
)


async def answering(
    desk: Desk, call: Call, reference_id: str, workflow_id: str, resolution: Resolution
) -> Update:
    """The Update that answers the question which waits about a payment or refund."""
    id_, answer = update_id(call), replace(resolution, by=actor(call.access))
    async with desk.database.read(call.access.scope) as tx:
        refused = await _refusal(tx, reference_id, resolution.outcome)

    async def decided() -> Decided | None:
        return await _decided(desk, call.access, reference_id, id_)

    return Update(workflow_id, "resolve", answer, id_, refused, decided, nothing_waits=_ASKS_FIRST)


async def _refusal(tx: Transaction, reference_id: str, outcome: Outcome) -> Rejected | None:
    """None when this answers the question that waits about a payment or refund."""
    asked = await review.latest(tx, reference_id)
    question = None if asked is None else asked.question
    try:
        check(question, None if asked is None else asked.outcome, outcome)
    except Rejected as refused:
        return refused
    return None


async def _decided(desk: Desk, access: Access, reference_id: str, update_id: str) -> Decided | None:
    """How the review ended that this Update has answered, or else the last one; None while that
    waits. A payment can be asked about more than once."""
    async with desk.database.read(access.scope) as tx:
        answered = await review.ended_by(tx, reference_id, update_id)
        closed = answered or await review.ended(tx, reference_id)
    return None if closed is None else Decided(closed.outcome, closed.decided_by or "")


async def listed(
    desk: Desk, access: Access, wanted: Wanted, place: Place | None, limit: int
) -> Page[ListedReview]:
    """What was asked last first, below a place."""
    async with desk.database.read(access.scope) as tx:
        found = await review.listed(tx, wanted, place, limit)
    await looked_through(desk, access, Noun.REVIEW, wanted.customer_id)
    return found
