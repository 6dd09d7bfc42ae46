"""The steps of a saga as operators read them, and the events that tell of them."""

from datetime import timedelta

from sqlalchemy import func, select

from domain.access import SYSTEM
from domain.payment import PaymentRequest
from domain.saga import GATEWAY_CHARGE, PAYMENT_COMPLETE, WALLET_HOLD, StepState
from store import outbox, saga
from store.database import Database
from tests.support.metrics import sample
from tests.support.samples import a_payment


async def steps(database: Database, payment: PaymentRequest) -> list[tuple[str, str]]:
    async with database.engine.connect() as tx:
        return [(row.step, row.state) for row in await saga.of(tx, payment.payment_id)]


async def record(database: Database, payment: PaymentRequest, **outcomes: StepState) -> None:
    named = {name.replace("_", ".", 1): state for name, state in outcomes.items()}
    async with database.begin(SYSTEM) as tx:
        await saga.record(tx, payment, named)


async def test_a_step_has_one_state_its_last(database: Database) -> None:
    payment = a_payment(100, 200)
    await record(database, payment, wallet_hold=StepState.DONE)
    await record(database, payment, gateway_charge=StepState.REFUSED)
    await record(database, payment, wallet_hold=StepState.UNDONE)

    assert await steps(database, payment) == [(WALLET_HOLD, "UNDONE"), (GATEWAY_CHARGE, "REFUSED")]


async def test_steps_stand_in_the_order_in_which_the_saga_goes(database: Database) -> None:
    payment = a_payment(100, 200)
    done = StepState.DONE
    await record(database, payment, payment_complete=done, wallet_hold=done, gateway_charge=done)

    names = [step for step, _ in await steps(database, payment)]
    assert names == [WALLET_HOLD, GATEWAY_CHARGE, PAYMENT_COMPLETE]


async def test_every_outcome_is_told_on_the_line_of_the_order(database: Database) -> None:
    payment = a_payment(100, 200)
    await record(database, payment, wallet_hold=StepState.DONE)
    await record(database, payment, wallet_hold=StepState.UNDONE)

    async with database.engine.connect() as tx:
        events = await outbox.of_aggregates(tx, [payment.payable_id])
    assert [(event.aggregate_version, event.data["outcome"]) for event in events] == [
        (1, "DONE"),
        (2, "UNDONE"),
    ]
    assert {event.data["sagaId"] for event in events} == {payment.payment_id}


async def test_what_was_taken_back_is_counted(database: Database) -> None:
    async with database.begin(SYSTEM) as tx:
        now = (await tx.execute(select(func.now()))).scalar_one()
        just_now, just_later = now - timedelta(microseconds=1), now
        before = await saga.undone_since(tx, just_now)
        await saga.record(tx, a_payment(1, 0), {WALLET_HOLD: StepState.UNDONE})
        await saga.record(tx, a_payment(1, 0), {WALLET_HOLD: StepState.DONE})

        assert await saga.undone_since(tx, just_now) == before + 1
        assert await saga.undone_since(tx, just_later) == 0


async def test_a_step_that_is_taken_back_twice_is_one_compensation(database: Database) -> None:
    payment = a_payment(100, 200)
    before = sample("billing_saga_compensations_total", step=WALLET_HOLD)

    await record(database, payment, wallet_hold=StepState.DONE)
    for _ in range(2):
        await record(database, payment, wallet_hold=StepState.UNDONE)

    assert sample("billing_saga_compensations_total", step=WALLET_HOLD) == before + 1
