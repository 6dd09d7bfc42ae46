"""One row per charge or refund, written before its first call leaves us."""

from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.gateway import (
    Attempt,
    GatewayAnswer,
    GatewayAttempt,
    GatewayRequest,
    GatewayStatus,
    Operation,
)
from store.database import Transaction
from store.tables import gateway_attempts


async def open_(tx: Transaction, request: GatewayRequest, run_id: str) -> Attempt:
    """Open the attempt, or find the one that is there: `resumed` when another run opened it."""
    row = insert(gateway_attempts).values(
        reference_id=request.reference_id,
        operation=request.operation,
        payment_id=request.payment_id,
        gateway=request.gateway,
        idempotency_key=request.idempotency_key,
        amount=request.amount,
        currency=request.currency,
        opened_by_run=run_id,
    )
    keep = row.on_conflict_do_update(
        index_elements=["reference_id", "operation"],
        set_={"outcome": gateway_attempts.c.outcome},
    ).returning(gateway_attempts.c.opened_at, gateway_attempts.c.opened_by_run)
    opened_at, opened_by_run = (await tx.execute(keep)).one()
    return Attempt(opened_at, opened_by_run != run_id, opened_by_run)


async def close(
    tx: Transaction, reference_id: str, operation: Operation, answer: GatewayAnswer
) -> None:
    """Note the outcome; a later one (a late capture) replaces an earlier."""
    await tx.execute(
        update(gateway_attempts)
        .where(
            gateway_attempts.c.reference_id == reference_id,
            gateway_attempts.c.operation == operation,
        )
        .values(
            outcome=answer.status,
            gateway_reference=answer.reference,
            code=answer.code,
            message=answer.message,
            closed_at=func.now(),
        )
    )


async def of_payment(tx: Transaction, payment_id: str) -> list[GatewayAttempt]:
    """Charges and refunds of a payment, oldest first."""
    query = select(gateway_attempts).where(gateway_attempts.c.payment_id == payment_id)
    rows = await tx.execute(query.order_by(gateway_attempts.c.opened_at))
    return [_attempt(row) for row in rows]


def _attempt(row: Row[Any]) -> GatewayAttempt:
    return GatewayAttempt(
        reference_id=row.reference_id,
        operation=Operation(row.operation),
        payment_id=row.payment_id,
        gateway=row.gateway,
        idempotency_key=row.idempotency_key,
        amount=row.amount,
        currency=row.currency,
        opened_at=row.opened_at,
        opened_by_run=row.opened_by_run,
        outcome=None if row.outcome is None else GatewayStatus(row.outcome),
        gateway_reference=row.gateway_reference,
        code=row.code,
        message=row.message,
        closed_at=row.closed_at,
    )
