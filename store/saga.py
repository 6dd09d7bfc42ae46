"""The state of each step of a saga, written with the event that tells of it, in the transaction of
the step's own effect."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from prometheus_client import Counter
from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import insert

from domain.event import Event
from domain.order import OrderStatus
from domain.payment import PayableType, PaymentRequest, step_event
from domain.saga import IN_ORDER, SagaStep, StepState
from store import order, outbox
from store.change import Change
from store.database import Transaction
from store.tables import saga_steps

COMPENSATIONS = Counter(
    "billing_saga_compensations",
    "Steps that were taken back, by step; again where a transaction failed and was repeated.",
    ["step"],
)
for each in IN_ORDER:
    COMPENSATIONS.labels(each)

_RECORD = """
recorded AS (
    INSERT INTO saga_steps (saga_id, step, state)
    SELECT CAST(:saga_id AS uuid), step, state
    FROM unnest(CAST(:steps AS text[]), CAST(:states AS text[])) AS outcome (step, state)
    RETURNING step
)"""


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
    for step in new:
        if outcomes[step] is StepState.UNDONE:
            COMPENSATIONS.labels(step).inc()
    events = [
        event
        for step, state in outcomes.items()
        if step in new
        for event in step_event(payment, step, state, order_status)
    ]
    if events or then:
        await outbox.append(tx, *events, *then)


def recording(
    payment: PaymentRequest,
    outcomes: Mapping[str, StepState],
    *then: Event,
    order_status: OrderStatus = OrderStatus.PAYING,
) -> tuple[Change, ...]:
    """The same as parts of a statement, of steps that have no state yet."""
    steps = {
        "saga_id": payment.payment_id,
        "steps": list(outcomes),
        "states": list(outcomes.values()),
    }
    told = [
        event
        for step, state in outcomes.items()
        for event in step_event(payment, step, state, order_status)
    ]
    recorded = Change("recorded", _RECORD, len(outcomes), steps)
    return recorded, outbox.appending(*told, *then)


async def record_undone(
    tx: Transaction, payment: PaymentRequest, *steps: str, state: StepState = StepState.UNDONE
) -> None:
    """These steps are taken back, perhaps after the payment has ended, and its order has been paid
    by another one: it is told as it stands."""
    stands = OrderStatus.PAYING
    if payment.payable_type is PayableType.ORDER:
        stands = await order.lock_status(tx, payment.payable_id)
    await record(tx, payment, dict.fromkeys(steps, state), order_status=stands)


async def of(tx: Transaction, saga_id: str) -> list[SagaStep]:
    """The steps in the order in which the saga goes forward."""
    rows = await tx.execute(select(saga_steps).where(saga_steps.c.saga_id == saga_id))
    return sorted((_step(row) for row in rows), key=lambda step: IN_ORDER.index(step.step))


async def of_each(tx: Transaction, saga_ids: Sequence[str]) -> Mapping[str, list[SagaStep]]:
    """The same of each of these."""
    found: dict[str, list[SagaStep]] = {each: [] for each in saga_ids}
    rows = await tx.execute(select(saga_steps).where(saga_steps.c.saga_id.in_(saga_ids)))
    for step in sorted(map(_step, rows), key=lambda step: IN_ORDER.index(step.step)):
        found[step.saga_id].append(step)
    return found


async def undone_since(tx: Transaction, moment: datetime) -> int:
    """How many steps were taken back since then: an index holds them by time."""
    query = select(func.count()).where(
        saga_steps.c.state == StepState.UNDONE, saga_steps.c.at > moment
    )
    return (await tx.execute(query)).scalar_one()


def _step(row: Row[Any]) -> SagaStep:
    return SagaStep(row.saga_id, row.step, StepState(row.state), row.at)
