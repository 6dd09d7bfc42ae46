"""The state of each step of a saga, written with the event that tells of it, in the transaction of
the step's own effect."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import insert

from domain.event import Event
from domain.order import OrderStatus
from domain.payment import PaymentRequest, step_event
from domain.saga import IN_ORDER, SagaStep, StepState
from store import outbox
from store.database import Transaction
from store.tables import saga_steps


async def record(
    tx: Transaction,
    payment: PaymentRequest,
    outcomes: Mapping[str, StepState],
    *then: Event,
    order_status: OrderStatus = OrderStatus.PAYING,
) -> None:
    """Set the state of these steps, append the events of those that changed, and after them the
    events in `then`. A step recorded again as it is, by an activity that runs twice, is not told
    twice."""
    rows = [
        {"saga_id": payment.payment_id, "step": step, "state": state}
        for step, state in outcomes.items()
    ]
    row = insert(saga_steps).values(rows)
    changed = await tx.execute(
        row.on_conflict_do_update(
            index_elements=["saga_id", "step"],
            set_={"state": row.excluded.state, "at": func.now()},
            where=saga_steps.c.state != row.excluded.state,
        ).returning(saga_steps.c.step)
    )
    new = set(changed.scalars())
    events = [
        event
        for step, state in outcomes.items()
        if step in new
        for event in step_event(payment, step, state, order_status)
    ]
    if events or then:
        await outbox.append(tx, *events, *then)


async def of(tx: Transaction, saga_id: str) -> list[SagaStep]:
    """The steps in the order in which the saga goes forward."""
    rows = await tx.execute(select(saga_steps).where(saga_steps.c.saga_id == saga_id))
    return sorted((_step(row) for row in rows), key=lambda step: IN_ORDER.index(step.step))


async def undone_since(tx: Transaction, moment: datetime) -> int:
    """How many steps were taken back since then: an index holds them by time."""
    query = select(func.count()).where(
        saga_steps.c.state == StepState.UNDONE, saga_steps.c.at > moment
    )
    return (await tx.execute(query)).scalar_one()


def _step(row: Row[Any]) -> SagaStep:
    return SagaStep(row.saga_id, row.step, StepState(row.state), row.at)
