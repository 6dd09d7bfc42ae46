"""One row per charge or refund, written before its first call leaves us."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, Uuid, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.gateway import (
    SUCCESS,
    Attempt,
    GatewayAnswer,
    GatewayAttempt,
    GatewayRequest,
    GatewayStatus,
    Operation,
)
from store.change import Change
from store.database import Transaction
from store.tables import gateway_attempts, payments

_OPEN = """
opened AS (
    INSERT INTO gateway_attempts (
        reference_id, operation, payment_id, customer_id, gateway, idempotency_key, amount,
        currency, opened_by_run
    )
    SELECT
        reference_id, operation, payment_id, customer_id, gateway, idempotency_key, amount,
        currency, ''
    FROM unnest(
        CAST(:reference_ids AS uuid[]), CAST(:operations AS text[]),
        CAST(:attempted_ids AS uuid[]), CAST(:attempted_by AS text[]), CAST(:gateways AS text[]),
        CAST(:gateway_keys AS text[]), CAST(:attempted_amounts AS bigint[]),
        CAST(:attempted_currencies AS text[])
    ) AS attempt (
        reference_id, operation, payment_id, customer_id, gateway, idempotency_key, amount, currency
    )
    RETURNING operation
)"""
_CLOSE = """
closed AS (
    UPDATE gateway_attempts
    SET outcome = answer.status, gateway_reference = answer.reference, code = NULL,
        message = NULL, closed_at = now()
    FROM unnest(
        CAST(:answered AS text[]), CAST(:outcomes AS text[]), CAST(:answers AS text[])
    ) AS answer (operation, status, reference)
    WHERE reference_id = CAST(:payment_id AS uuid)
      AND gateway_attempts.operation = answer.operation
    RETURNING gateway_attempts.operation
)"""

_CUSTOMER = (
    select(payments.c.customer_id)
    .where(payments.c.id == bindparam("attempt_of", type_=Uuid(as_uuid=False)))
    .scalar_subquery()
)
"""Of the payment that an attempt is for."""


def opening(requests: Sequence[GatewayRequest]) -> Change:
    """Open attempts with the payment that they are for: no run of a workflow is there yet."""
    values = {
        "reference_ids": [each.reference_id for each in requests],
        "operations": [each.operation for each in requests],
        "attempted_ids": [each.payment_id for each in requests],
        "attempted_by": [each.customer_id for each in requests],
        "gateways": [each.gateway for each in requests],
        "gateway_keys": [each.idempotency_key for each in requests],
        "attempted_amounts": [each.amount for each in requests],
        "attempted_currencies": [each.currency for each in requests],
    }
    return Change("opened", _OPEN, len(requests), values)


async def open_(tx: Transaction, request: GatewayRequest, run_id: str) -> Attempt:
    """Open the attempt, or find the one that is there: `resumed` when another run opened it."""
    row = insert(gateway_attempts).values(
        reference_id=request.reference_id,
        operation=request.operation,
        payment_id=request.payment_id,
        customer_id=_CUSTOMER,
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
    values = {"attempt_of": request.payment_id}
    opened_at, opened_by_run = (await tx.execute(keep, values)).one()
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


def closing(payment_id: str, references: Mapping[Operation, str | None]) -> Change:
    """The same as a part of a statement, where the PG has done everything that it was asked for."""
    values = {
        "payment_id": payment_id,
        "answered": list(references),
        "outcomes": [SUCCESS[operation] for operation in references],
        "answers": list(references.values()),
    }
    return Change("closed", _CLOSE, len(references), values)


async def of_payment(tx: Transaction, payment_id: str) -> list[GatewayAttempt]:
    """Charges and refunds of a payment, oldest first."""
    query = select(*COLUMNS).where(gateway_attempts.c.payment_id == payment_id)
    rows = await tx.execute(query.order_by(*IN_ORDER))
    return [attempt(row) for row in rows]


async def of_payments(
    tx: Transaction, payment_ids: Sequence[str]
) -> Mapping[str, list[GatewayAttempt]]:
    """The same of each of these."""
    found: dict[str, list[GatewayAttempt]] = {each: [] for each in payment_ids}
    query = select(*COLUMNS).where(gateway_attempts.c.payment_id.in_(payment_ids))
    for row in await tx.execute(query.order_by(*IN_ORDER)):
        found[row.attempt_payment_id].append(attempt(row))
    return found


COLUMNS = tuple(
    gateway_attempts.c[field.name].label(f"attempt_{field.name}")
    for field in fields(GatewayAttempt)
)
"""By names that no other table has, for a row with more in it."""
IN_ORDER = (gateway_attempts.c.opened_at, gateway_attempts.c.operation)


def attempt(row: Row[Any]) -> GatewayAttempt:
    """Of a row with `COLUMNS`."""
    found = row._mapping
    values = {field.name: found[f"attempt_{field.name}"] for field in fields(GatewayAttempt)}
    outcome = values["outcome"]
    return GatewayAttempt(
        **values
        | {
            "operation": Operation(values["operation"]),
            "outcome": None if outcome is None else GatewayStatus(outcome),
        }
    )
