"""A question to a person is a row: one waits at a time, and how it ended stays."""

from domain.access import SYSTEM
from domain.gateway import Operation
from domain.review import ClosedReview, ListedReview, NewReview, Question, Wanted
from store import review
from store.database import Database, Transaction
from tests.store.test_payment import create
from tests.support.samples import a_payment


async def a_review(database: Database, reason: str = "undecided") -> NewReview:
    payment = await create(database, a_payment(card_amount=10))
    id_ = payment.payment_id
    return NewReview(id_, id_, Operation.CHARGE, Question.CAPTURE, reason)


async def waiting(tx: Transaction, asked: NewReview) -> list[ListedReview]:
    return (await review.listed(tx, Wanted(payment_id=asked.payment_id, open=True), None, 9)).items


async def test_a_review_waits_until_it_is_closed_and_then_says_how(database: Database) -> None:
    asked = await a_review(database)
    async with database.begin(SYSTEM) as tx:
        await review.open_(tx, asked)
        [row] = await waiting(tx, asked)
    assert (row.review.question, row.review.reason, row.amount) == ("capture", "undecided", 10)

    closed = ClosedReview(asked.reference_id, "failed", "not there", "update-1")
    async with database.begin(SYSTEM) as tx:
        await review.close(tx, closed)
        # Only the first decision counts.
        await review.close(tx, ClosedReview(asked.reference_id, "captured"))
        await review.supersede(tx, asked.reference_id)
        latest = await review.latest(tx, asked.reference_id)
        assert await waiting(tx, asked) == []

    assert latest is not None
    assert (latest.outcome, latest.note, latest.decided_by) == ("failed", "not there", "update-1")


async def test_asked_again_it_keeps_its_time(database: Database) -> None:
    asked = await a_review(database)
    async with database.begin(SYSTEM) as tx:
        await review.open_(tx, asked)
        first = await review.latest(tx, asked.reference_id)
    another = NewReview(
        asked.reference_id, asked.payment_id, Operation.VOID, Question.VOID, "not voided"
    )
    async with database.begin(SYSTEM) as tx:
        await review.open_(tx, another)
        [row] = await review.of_payment(tx, asked.payment_id)

    assert first is not None
    assert (row.id, row.opened_at) == (first.id, first.opened_at)
    assert (row.operation, row.question, row.reason) == ("void", "void", "not voided")


async def test_a_new_question_after_an_old_one_is_another_row(database: Database) -> None:
    asked = await a_review(database)
    async with database.begin(SYSTEM) as tx:
        await review.open_(tx, asked)
        await review.supersede(tx, asked.reference_id)
        await review.open_(tx, asked)
        outcomes = [row.outcome for row in await review.of_payment(tx, asked.payment_id)]
        counts = await review.count_waiting(tx)

    assert outcomes == [review.SUPERSEDED, None]
    assert counts[Question.CAPTURE] >= 1
