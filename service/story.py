"""Everything that is known of one payment: what the database holds, and what Temporal says now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.access import Access
from domain.audit import Noun
from domain.errors import NotFound
from domain.event import OutboxEvent
from domain.gateway_health import Standing
from domain.ledger import BookedPosting
from domain.order import OrderStatus
from domain.payment import FINAL as PAID
from domain.refund import FINAL, Refund
from domain.review import Review
from domain.saga import SagaStep
from domain.workflow_id import payment_workflow_id, refund_workflow_id
from service import gateway as gateways
from service import payment as payments
from service.audit import viewed
from service.desk import Desk
from service.payment import PaymentRecord
from service.standing import RUNNING, WorkflowStanding, standing
from service.temporal import TemporalUnreachable
from store import ledger, order, outbox, payment, refund, review, saga
from store.database import Transaction


@dataclass(frozen=True)
class Story:
    """One payment. `temporal_error`: why there are no workflows, when Temporal could not be
    asked. `gateway`: how its PG does, while a workflow of it may have to ask that."""

    record: PaymentRecord
    order_status: OrderStatus | None
    steps: Sequence[SagaStep]
    postings: Sequence[BookedPosting]
    events: Sequence[OutboxEvent]
    refunds: Sequence[Refund]
    reviews: Sequence[Review]
    workflows: Sequence[WorkflowStanding] = ()
    temporal_error: str | None = None
    gateway: Standing | None = None


async def stories(desk: Desk, access: Access, id_: str) -> list[Story]:
    """Of the payment with this id, or of every payment of an order, invoice, top-up or refund with
    this id. Raises `NotFound` when there is none."""
    async with desk.database.read(access.scope) as tx:
        ids = await _payment_ids(tx, id_)
        if not ids:
            raise NotFound(
                f"There is no payment, and nothing that has payments, with the id {id_}."
            )
        begun = [await _stored(tx, payment_id) for payment_id in ids]
    for story in begun:
        row = story.record.payment
        await viewed(desk, access, Noun.PAYMENT, row.id, row.customer_id)
    at_work = [await _at_work(desk, story) for story in begun]
    # The rows as they stand now: what a workflow that has ended came to is in them.
    async with desk.database.read(access.scope) as tx:
        told = [await _stored(tx, payment_id) for payment_id in ids]
    return [
        replace(
            story,
            workflows=found,
            temporal_error=error,
            gateway=await _gateway(desk, story, found),
        )
        for story, (found, error) in zip(told, at_work, strict=True)
    ]


async def _gateway(
    desk: Desk, story: Story, workflows: Sequence[WorkflowStanding]
) -> Standing | None:
    paid = story.record.payment
    at_work = any(each.status == RUNNING for each in workflows)
    if not paid.card_amount or not (at_work or paid.status not in PAID):
        return None
    return await gateways.standing(desk, paid.gateway)


async def _payment_ids(tx: Transaction, id_: str) -> list[str]:
    if await payment.find(tx, id_) is not None:
        return [id_]
    if (given_back := await refund.find(tx, id_)) is not None:
        return [given_back.payment_id]
    return [row.id for row in await payment.of_payable(tx, id_)]


async def _stored(tx: Transaction, payment_id: str) -> Story:
    row = await payments.found(tx, payment_id)
    ordered = await order.find(tx, row.payable_id)
    return Story(
        record=await payments.record(tx, row),
        order_status=None if ordered is None else ordered.status,
        steps=await saga.of(tx, payment_id),
        postings=await ledger.of_payment(tx, payment_id),
        events=await outbox.of_aggregates(tx, [payment_id, row.payable_id]),
        refunds=await refund.of_payment(tx, payment_id),
        reviews=await review.of_payment(tx, payment_id),
    )


async def _at_work(desk: Desk, story: Story) -> tuple[list[WorkflowStanding], str | None]:
    ids = [payment_workflow_id(story.record.payment.id)]
    ids += [refund_workflow_id(each.id) for each in story.refunds if each.status not in FINAL]
    try:
        found = [await standing(desk.temporal, id_) for id_ in ids]
    except TemporalUnreachable as error:
        return [], str(error)
    return [each for each in found if each is not None], None
