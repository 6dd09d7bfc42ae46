"""Every kind of part that lies with us has its steps, and all of them keep its amount."""

from dataclasses import replace
from functools import partial

import pytest

from activities.funding import STEPS
from domain.funding import Kind, Part
from domain.saga import GATEWAY_AUTHORIZE, IN_ORDER
from domain.wallet import Balance
from store import wallet
from store.database import Database
from tests.activities.conftest import Twice
from tests.support.cashier import Cashier
from tests.support.wallets import balances


def test_every_part_that_lies_with_us_has_its_steps() -> None:
    assert set(STEPS) == set(Kind) - {Kind.CARD}


def test_operators_see_the_steps_in_the_order_in_which_the_parts_are_set_aside() -> None:
    names = [STEPS[kind].name if kind in STEPS else GATEWAY_AUTHORIZE for kind in Kind]

    assert names == [step for step in IN_ORDER if step in names]


@pytest.mark.parametrize("kind", STEPS)
async def test_a_part_is_set_aside_and_given_back_once(
    kind: Kind, database: Database, cashier: Cashier, twice: Twice
) -> None:
    await cashier.billing.top_up(5_000)
    request = await cashier.prepare(wallet=1_000, card=1_000, goods=await cashier.goods())
    customer_id, step, hold = request.customer_id, STEPS[kind], request.hold(kind)
    activities = step.activities(database)
    before = await balances(database, customer_id)

    await twice(partial(step.do, activities), request)
    available, _ = before[hold.unit]
    aside = await balances(database, customer_id)
    assert aside == before | {hold.unit: (available - hold.amount, hold.amount)}
    await twice(partial(step.undo, activities), request)

    assert await balances(database, customer_id) == before


@pytest.mark.parametrize("kind", STEPS)
async def test_a_part_that_was_taken_goes_back_to_where_it_came_from(
    kind: Kind, database: Database, cashier: Cashier
) -> None:
    """Tried in a transaction that is rolled back: the postings of the two are the caller's."""
    await cashier.billing.top_up(5_000)
    request = await cashier.prepare(wallet=1_000, card=1_000, goods=await cashier.goods())
    step = STEPS[kind]
    [part] = (part for part in request.ours if part.kind is kind)
    await step.do(step.activities(database), request)

    async with database.engine.connect() as tx:
        aside = await wallet.balances(tx, request.customer_id)
        await step.take(tx, request.hold(kind))
        taken = await wallet.balances(tx, request.customer_id)
        await step.give_back(tx, part)
        given_back = await wallet.balances(tx, request.customer_id)

    assert taken == [_changed(each, part, held=-part.amount) for each in aside]
    assert given_back == [_changed(each, part, available=part.amount) for each in taken]


def _changed(balance: Balance, part: Part, available: int = 0, held: int = 0) -> Balance:
    if balance.currency != part.unit:
        return balance
    return replace(balance, available=balance.available + available, held=balance.held + held)
