"""Attempt rows: written before the first call, so that "nothing ever left us" can be known."""

import asyncio

import pytest
from sqlalchemy.exc import IntegrityError

from domain.access import SYSTEM
from domain.gateway import Attempt, GatewayAnswer, GatewayRequest, GatewayStatus, Operation
from domain.payment import Method, PaymentRequest
from store import gateway_attempt
from store import payment as payments
from store.database import Database
from tests.support.samples import a_payment, a_refund


async def a_stored_payment(database: Database) -> PaymentRequest:
    payment = a_payment(0, 1_000)
    async with database.begin(SYSTEM) as tx:
        await payments.create(tx, payment, Method.CARD)
    return payment


async def open_(database: Database, request: GatewayRequest, run_id: str) -> Attempt:
    async with database.begin(SYSTEM) as tx:
        return await gateway_attempt.open_(tx, request, run_id)


async def test_a_run_that_repeats_itself_has_sent_nothing_another_run_may_have(
    database: Database,
) -> None:
    asked = a_refund(await a_stored_payment(database), 1_000, 0).gateway_refund()

    first = await open_(database, asked, "run-1")
    again = await open_(database, asked, "run-1")
    other = await open_(database, asked, "run-2")

    assert [each.resumed for each in (first, again, other)] == [False, False, True]
    assert first.opened_at == again.opened_at == other.opened_at


async def test_runs_that_open_at_once_agree_on_who_was_first(database: Database) -> None:
    asked = a_refund(await a_stored_payment(database), 1_000, 0).gateway_refund()

    attempts = await asyncio.gather(
        *(open_(database, asked, f"run-{number}") for number in range(8))
    )

    assert [each.resumed for each in attempts].count(False) == 1
    assert len({each.opened_at for each in attempts}) == 1


async def test_a_later_outcome_replaces_an_earlier(database: Database) -> None:
    payment = await a_stored_payment(database)
    refund = a_refund(payment, 1_000, 0)
    await open_(database, payment.gateway_request(Operation.CHARGE), "run-1")
    await open_(database, refund.gateway_refund(), "run-1")
    declined = GatewayAnswer(GatewayStatus.DECLINED, code="card_declined", message="No.")
    captured = GatewayAnswer(GatewayStatus.CAPTURED, reference="pay_1")

    for answer in (declined, captured):
        async with database.begin(SYSTEM) as tx:
            await gateway_attempt.close(tx, payment.payment_id, Operation.CHARGE, answer)

    async with database.engine.connect() as tx:
        charge, other = await gateway_attempt.of_payment(tx, payment.payment_id)
    assert (charge.outcome, charge.gateway_reference, charge.code) == ("CAPTURED", "pay_1", None)
    assert charge.closed_at is not None
    assert (other.operation, other.outcome, other.closed_at) == ("refund", None, None)


async def test_an_attempt_belongs_to_a_payment(database: Database) -> None:
    with pytest.raises(IntegrityError, match='null value in column "customer_id"'):
        await open_(database, a_payment(0, 10).gateway_request(Operation.CHARGE), "run-1")
