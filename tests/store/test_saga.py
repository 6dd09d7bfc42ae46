"""The steps of a saga as operators read them."""

from domain.saga import StepState
from store import saga
from store.database import Database
from tests.samples import new_id


async def steps(database: Database, saga_id: str) -> list[tuple[str, str]]:
    async with database.connect() as tx:
        return [(row.step, row.state) for row in await saga.of(tx, saga_id)]


async def test_a_step_has_one_state_and_the_last_changed_stands_last(database: Database) -> None:
    saga_id = new_id()
    for step, state in [
        ("first", StepState.DONE),
        ("second", StepState.DONE),
        ("first", StepState.UNDONE),
    ]:
        async with database.begin() as tx:
            await saga.record(tx, saga_id, step, state)

    assert await steps(database, saga_id) == [("second", "DONE"), ("first", "UNDONE")]


async def test_steps_of_one_transaction_stand_in_the_order_of_their_recording(
    database: Database,
) -> None:
    saga_id = new_id()
    names = ["wallet.hold", "gateway.charge", "payment.complete", "a", "z", "b"]
    for recorded in (names, names[::-1]):
        async with database.begin() as tx:
            for name in recorded:
                await saga.record(tx, saga_id, name, StepState.DONE)

        assert [step for step, _ in await steps(database, saga_id)] == recorded


async def test_what_was_taken_back_is_counted(database: Database) -> None:
    async with database.begin() as tx:
        before = await saga.undone(tx)
        await saga.record(tx, new_id(), "first", StepState.UNDONE)
        await saga.record(tx, new_id(), "first", StepState.DONE)

        assert await saga.undone(tx) == before + 1
