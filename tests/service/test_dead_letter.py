"""Replaying things of our own: what gave them up is asked once more, and says what became of it."""

import pytest
from temporalio.client import Client

from domain.access import SYSTEM, Access
from domain.dead_letter import DeadLetter, LetterState
from domain.roles import Role
from domain.terms import Terms
from runtime import sweeper
from service import dead_letter as service
from service.desk import Desk
from store import clock, dead_letter
from store.database import Database
from store.tables import dead_letters
from tests.api.settling import NO_MONEY, PERIOD, plan, settle, use
from tests.support.billing import GOOD_CARD, Billing
from tests.support.conditions import eventually
from tests.support.desks import desk as a_desk
from tests.support.dunning import Dunning, brisk
from tests.support.faults import FaultInjector

ADMIN = Access("an-admin", frozenset({Role.ADMIN}), "")


@pytest.fixture
def desk(database: Database, temporal_client: Client, settlements: None) -> Desk:
    return a_desk(database, temporal_client)


@pytest.fixture
def dunning(
    billing: Billing, temporal_client: Client, faults: FaultInjector, settlements: None
) -> Dunning:
    return Dunning(billing, temporal_client, faults)


async def letters_of(billing: Billing) -> list[DeadLetter]:
    """Of this customer, the oldest first."""
    mine = dead_letters.c.customer_id == billing.customer_id
    query = dead_letters.select().where(mine).order_by(dead_letters.c.position)
    async with billing.database.read(SYSTEM) as tx:
        ids = [row.id for row in await tx.execute(query)]
        found = [await dead_letter.find(tx, id_) for id_ in ids]
    return [each for each in found if each is not None]


async def stand(billing: Billing, *states: str) -> list[DeadLetter]:
    async def so() -> bool:
        return [each.state for each in await letters_of(billing)] == [*states]

    await eventually(so)
    return await letters_of(billing)


async def a_month_without_prices(billing: Billing) -> DeadLetter:
    await use(billing, 5)
    status, _ = await settle(billing)
    assert status == 422
    [letter] = await stand(billing, "OPEN")
    return letter


async def test_a_month_that_failed_waits_and_is_settled_by_a_replay(
    billing: Billing, desk: Desk
) -> None:
    letter = await a_month_without_prices(billing)
    assert letter.reference == f"settlement/{billing.customer_id}/{PERIOD}"
    assert (letter.source, letter.error_class) == ("SETTLEMENT", "SETTLEMENT_FAILED")
    assert "no plan" in letter.failure_reason
    await plan(billing)

    await service.replay(desk, ADMIN, letter.id)

    await stand(billing, "REPLAYED")


async def test_a_month_that_fails_again_comes_back(billing: Billing, desk: Desk) -> None:
    letter = await a_month_without_prices(billing)

    await service.replay(desk, ADMIN, letter.id)

    _, again = await stand(billing, "REPLAYED", "OPEN")
    assert (again.replay_of, again.retry_count) == (letter.id, 1)


async def test_a_month_that_is_settled_otherwise_waits_no_more(
    billing: Billing, desk: Desk
) -> None:
    await a_month_without_prices(billing)
    await plan(billing)

    await settle(billing)

    await stand(billing, "RESOLVED")


async def test_an_invoice_that_nobody_paid_is_charged_once_by_a_replay(
    dunning: Dunning, desk: Desk
) -> None:
    await dunning.billing.add_card(NO_MONEY)
    owed = await dunning.issue(dunning=brisk(0.1))
    await dunning.start(owed)
    await dunning.given_up(owed)
    [letter] = await stand(dunning.billing, "OPEN")
    await dunning.billing.add_card(GOOD_CARD)

    await service.replay(desk, ADMIN, letter.id)
    await service.ask_again(desk.temporal, desk.terms, letter)

    await stand(dunning.billing, "REPLAYED")
    assert await dunning.captured(owed) == [5000]


async def test_an_invoice_that_is_declined_again_comes_back_and_is_told_again(
    dunning: Dunning, desk: Desk
) -> None:
    await dunning.billing.add_card(NO_MONEY)
    owed = await dunning.issue(dunning=brisk(0.1))
    owner = await dunning.start(owed)
    await dunning.given_up(owed)
    [letter] = await stand(dunning.billing, "OPEN")
    charged = len(await dunning.payments(owed))

    await service.replay(desk, ADMIN, letter.id)

    _, again = await stand(dunning.billing, "REPLAYED", "OPEN")
    assert (again.replay_of, again.retry_count) == (letter.id, 1)
    assert len(await dunning.payments(owed)) == charged + 1
    told = [each for each in await dunning.events(owed) if each.topic.endswith(".DLT")]
    assert [each.event_id for each in told] == [letter.id, again.id]
    await owner.terminate()


async def test_the_sweeper_asks_for_what_nobody_has_asked_for(
    billing: Billing, desk: Desk, temporal_client: Client
) -> None:
    """Whoever wanted the replay died between the commit and the question."""
    letter = await a_month_without_prices(billing)
    await plan(billing)
    async with billing.database.begin(SYSTEM) as tx:
        await dead_letter.move(tx, letter.id, LetterState.OPEN, LetterState.REPLAYING)
    async with billing.database.read(SYSTEM) as tx:
        now = await clock.now(tx)

    await sweeper.sweep(temporal_client, billing.database, Terms(), now)

    await stand(billing, "REPLAYED")
