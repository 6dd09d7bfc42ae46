"""Questions that wait for a person: a row each, whatever has become of the payment or refund."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.gateway import Operation
from domain.review import ClosedReview, ListedReview, NewReview, Question, Review, Wanted
from store.database import Transaction
from store.page import Order, Page, Place, matching, page, within
from store.tables import payments, refunds, reviews

_OPEN = reviews.c.closed_at.is_(None)
_LISTED = Order((reviews.c.opened_at, reviews.c.id), reviews.c.created_xid)
SUPERSEDED = "superseded"
"""Outcome of a review that nobody answered: a later run of its workflow found out by itself."""


async def open_(tx: Transaction, review: NewReview) -> None:
    """Ask, or ask again: the question that waits already keeps its time."""
    row = insert(reviews).values(
        reference_id=review.reference_id,
        payment_id=review.payment_id,
        operation=review.operation,
        question=review.question,
        reason=review.reason,
    )
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["reference_id"],
            index_where=_OPEN,
            set_={
                "operation": row.excluded.operation,
                "question": row.excluded.question,
                "reason": row.excluded.reason,
            },
        )
    )


async def close(tx: Transaction, closed: ClosedReview) -> bool:
    """Note how the open review ended; False without one."""
    ended = await tx.execute(
        update(reviews)
        .where(reviews.c.reference_id == closed.reference_id, _OPEN)
        .values(
            outcome=closed.outcome,
            note=closed.reason,
            decided_by=closed.decided_by,
            closed_at=func.now(),
        )
    )
    return ended.rowcount == 1


async def ended(tx: Transaction, reference_id: str) -> ClosedReview | None:
    """How the last review of a payment or refund ended; None while it waits."""
    review = await latest(tx, reference_id)
    return None if review is None else _closed(review)


async def ended_by(tx: Transaction, reference_id: str, update_id: str) -> ClosedReview | None:
    """The review about a payment or refund that this Update has answered."""
    query = select(reviews).where(
        reviews.c.reference_id == reference_id, reviews.c.decided_by == update_id
    )
    row = (await tx.execute(query)).first()
    return None if row is None else _closed(_review(row))


async def supersede(tx: Transaction, reference_id: str) -> None:
    """Its payment or refund has ended: nobody need answer any more."""
    await close(tx, ClosedReview(reference_id, SUPERSEDED))


async def listed(
    tx: Transaction, wanted: Wanted, place: Place | None, limit: int
) -> Page[ListedReview]:
    """What was asked last first, below a place, with the amount and the customer that it is
    about."""
    amount = func.coalesce(
        refunds.c.card_amount + refunds.c.wallet_amount,
        payments.c.card_amount + payments.c.wallet_amount,
    )
    named = {
        payments.c.customer_id: wanted.customer_id,
        reviews.c.payment_id: wanted.payment_id,
        reviews.c.question: wanted.question,
    }
    query = (
        select(reviews, amount.label("amount"), payments.c.currency, payments.c.customer_id)
        .join_from(reviews, payments, payments.c.id == reviews.c.payment_id)
        .outerjoin(refunds, refunds.c.id == reviews.c.reference_id)
        .where(*matching(named), *within(reviews.c.opened_at, wanted.since, wanted.until))
    )
    if wanted.open:
        query = query.where(_OPEN)
    return await page(tx, query, _LISTED, place, limit, _listed)


def _listed(row: Row[Any]) -> ListedReview:
    return ListedReview(_review(row), row.amount, row.currency, row.customer_id)


async def of_payment(tx: Transaction, payment_id: str) -> list[Review]:
    """What was asked about a payment and its refunds, oldest first."""
    query = select(reviews).where(reviews.c.payment_id == payment_id)
    rows = await tx.execute(query.order_by(reviews.c.opened_at, reviews.c.id))
    return [_review(row) for row in rows]


async def latest(tx: Transaction, reference_id: str) -> Review | None:
    """The open review of a payment or refund, or else the last one that ended."""
    query = select(reviews).where(reviews.c.reference_id == reference_id)
    row = (await tx.execute(query.order_by(reviews.c.id.desc()).limit(1))).first()
    return None if row is None else _review(row)


async def oldest_waiting(tx: Transaction) -> datetime | None:
    """Since when the first of them waits."""
    first: datetime | None = await tx.scalar(select(func.min(reviews.c.opened_at)).where(_OPEN))
    return first


async def count_waiting(tx: Transaction) -> Mapping[Question, int]:
    """How many wait, by question."""
    query = select(reviews.c.question, func.count()).where(_OPEN)
    rows = await tx.execute(query.group_by(reviews.c.question))
    return {Question(question): count for question, count in rows}


def _review(row: Row[Any]) -> Review:
    return Review(
        id=row.id,
        reference_id=row.reference_id,
        payment_id=row.payment_id,
        operation=Operation(row.operation),
        question=Question(row.question),
        reason=row.reason,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        outcome=row.outcome,
        note=row.note,
        decided_by=row.decided_by,
    )


def _closed(review: Review) -> ClosedReview | None:
    if review.outcome is None:
        return None
    return ClosedReview(review.reference_id, review.outcome, review.note, review.decided_by)
