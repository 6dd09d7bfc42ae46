"""The state of each step of a saga, written in the transaction of the step's effect."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import insert

from domain.saga import StepState
from store.database import Transaction
from store.tables import saga_steps


async def record(tx: Transaction, saga_id: str, step: str, state: StepState) -> None:
    """Set the state of a step; doing so again changes nothing but the time."""
    # Not now(), which is the same for all steps of a transaction: they are read in this order.
    at = func.clock_timestamp()
    row = insert(saga_steps).values(saga_id=saga_id, step=step, state=state.value, at=at)
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["saga_id", "step"],
            set_={"state": row.excluded.state, "at": row.excluded.at},
        )
    )


async def of(tx: Transaction, saga_id: str) -> Sequence[Row[Any]]:
    """The steps in the order in which they last changed."""
    query = select(saga_steps).where(saga_steps.c.saga_id == saga_id).order_by(saga_steps.c.at)
    return (await tx.execute(query)).all()


async def undone(tx: Transaction) -> int:
    """How many steps were ever taken back: the compensations metric."""
    query = select(func.count()).where(saga_steps.c.state == StepState.UNDONE.value)
    return (await tx.execute(query)).scalar_one()
