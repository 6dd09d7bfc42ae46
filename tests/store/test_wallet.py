"""Wallets on the real PostgreSQL: exact under concurrency, and equal to their postings always."""

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError, IntegrityError

from domain.access import SYSTEM
from domain.errors import HoldReleased
from domain.funding import Kind
from domain.payment import PaymentRequest, capture_transactions
from store import ledger, wallet
from store.database import Database
from tests.support.samples import a_payment, new_customer
from tests.support.wallets import a_funded_customer, balances, credit, posted


async def hold(database: Database, payment: PaymentRequest) -> bool:
    async with database.begin(SYSTEM) as tx:
        return await wallet.hold(tx, payment.hold(Kind.WALLET))


async def release(database: Database, payment: PaymentRequest) -> bool:
    async with database.begin(SYSTEM) as tx:
        return await wallet.release(tx, payment.hold(Kind.WALLET))


async def commit(database: Database, payment: PaymentRequest) -> None:
    async with database.begin(SYSTEM) as tx:
        await wallet.commit_hold(tx, payment.hold(Kind.WALLET))
        await ledger.append(tx, *capture_transactions(payment))


async def state(database: Database, payment: PaymentRequest) -> str | None:
    async with database.engine.connect() as tx:
        return await wallet.hold_state(tx, payment.hold(Kind.WALLET))


async def test_64_concurrent_holds_take_what_is_there_and_no_more(database: Database) -> None:
    customer_id = await a_funded_customer(database, 40_000)
    payments = [a_payment(1_000, customer_id=customer_id) for _ in range(64)]

    held = await asyncio.gather(*(hold(database, payment) for payment in payments))

    assert Counter(held) == {True: 40, False: 24}
    assert await balances(database, customer_id) == {"KRW": (0, 40_000)}
    assert await posted(database, customer_id) == {"KRW": (0, 40_000)}


async def test_64_concurrent_holds_of_any_size_add_up_exactly(database: Database) -> None:
    customer_id = await a_funded_customer(database, 10_000)
    payments = [a_payment(37 * (number + 1), customer_id=customer_id) for number in range(64)]

    held = await asyncio.gather(*(hold(database, payment) for payment in payments))

    taken = sum(each.wallet_amount for each, done in zip(payments, held, strict=True) if done)
    refused = [each.wallet_amount for each, done in zip(payments, held, strict=True) if not done]
    assert await balances(database, customer_id) == {"KRW": (10_000 - taken, taken)}
    assert await posted(database, customer_id) == {"KRW": (10_000 - taken, taken)}
    assert min(refused) > 10_000 - taken, "none was refused that still fits"


async def test_holds_releases_and_credits_at_once_lose_nothing(database: Database) -> None:
    customer_id = await a_funded_customer(database, 64_000)
    payments = [a_payment(1_000, customer_id=customer_id) for _ in range(64)]

    async def add() -> None:
        async with database.begin(SYSTEM) as tx:
            await credit(tx, customer_id, "KRW", 10)

    async def live(number: int, payment: PaymentRequest) -> None:
        await hold(database, payment)
        await (release if number % 2 else commit)(database, payment)

    await asyncio.gather(
        *(live(number, payment) for number, payment in enumerate(payments)),
        *(add() for _ in range(32)),
    )

    assert (await balances(database, customer_id))["KRW"] == (32_320, 0)
    assert (await posted(database, customer_id))["KRW"] == (32_320, 0)


async def test_concurrent_duplicates_of_a_hold_move_money_once(database: Database) -> None:
    customer_id = await a_funded_customer(database, 50_000)
    payment = a_payment(1_000, customer_id=customer_id)

    results = await asyncio.gather(
        *(hold(database, payment) for _ in range(16)), return_exceptions=True
    )

    assert results.count(True) == 1
    others = [each for each in results if each is not True]
    assert all(each is False or isinstance(each, IntegrityError) for each in others), others
    assert await balances(database, customer_id) == {"KRW": (49_000, 1_000)}
    assert await posted(database, customer_id) == {"KRW": (49_000, 1_000)}


async def test_a_release_that_comes_first_leaves_a_tombstone(database: Database) -> None:
    customer_id = await a_funded_customer(database, 5_000)
    payment = a_payment(1_000, customer_id=customer_id)

    assert not await release(database, payment)
    assert not await hold(database, payment), "the late hold does nothing"

    assert await state(database, payment) == "RELEASED"
    assert await balances(database, customer_id) == {"KRW": (5_000, 0)}


async def test_a_release_gives_back_once(database: Database) -> None:
    customer_id = await a_funded_customer(database, 5_000)
    payment = a_payment(1_000, customer_id=customer_id)
    await hold(database, payment)

    released = await asyncio.gather(*(release(database, payment) for _ in range(8)))

    assert Counter(released) == {True: 1, False: 7}
    assert await balances(database, customer_id) == {"KRW": (5_000, 0)}
    assert await posted(database, customer_id) == {"KRW": (5_000, 0)}


async def retried(database: Database, what: str, payment: PaymentRequest) -> int:
    """Do it as Temporal does: again until it says something; returns how often it could not."""
    step = hold if what == "hold" else release
    for failed in range(100):
        try:
            await step(database, payment)
        except DBAPIError:
            continue
        return failed
    pytest.fail(f"{what} was never answered")


@pytest.mark.parametrize("steps", [("hold", "release"), ("hold", "hold", "release", "release")])
async def test_a_hold_that_races_its_release_leaves_nothing_behind(
    database: Database, steps: tuple[str, ...]
) -> None:
    rounds = 200
    customers = [await a_funded_customer(database, 1_000_000) for _ in range(8)]
    payments = [a_payment(700, customer_id=customers[each % 8]) for each in range(rounds)]
    busy = asyncio.Semaphore(8)

    async def race(number: int, payment: PaymentRequest) -> None:
        in_turn = steps if number % 2 else tuple(reversed(steps))
        async with busy:
            await asyncio.gather(*(retried(database, step, payment) for step in in_turn))

    await asyncio.gather(*(race(*each) for each in enumerate(payments)))

    for customer_id in customers:
        assert await balances(database, customer_id) == {"KRW": (1_000_000, 0)}
        assert await posted(database, customer_id) == {"KRW": (1_000_000, 0)}
    assert {await state(database, payment) for payment in payments} == {"RELEASED"}


async def test_a_payment_cannot_complete_without_its_hold(database: Database) -> None:
    customer_id = await a_funded_customer(database, 5_000)
    released = a_payment(1_000, customer_id=customer_id)
    await hold(database, released)
    await release(database, released)

    with pytest.raises(HoldReleased):
        await commit(database, released)
    with pytest.raises(RuntimeError, match="completes without its hold"):
        await commit(database, a_payment(1_000, customer_id=customer_id))
    assert await balances(database, customer_id) == {"KRW": (5_000, 0)}


async def test_a_wallet_holds_each_currency_apart(database: Database) -> None:
    customer_id = await a_funded_customer(database, 5_000, "KRW")
    async with database.begin(SYSTEM) as tx:
        await credit(tx, customer_id, "USD", 1)

    assert not await hold(database, a_payment(2, customer_id=customer_id, currency="USD"))
    assert not await hold(database, a_payment(2, customer_id=customer_id, currency="KWD"))
    assert await balances(database, customer_id) == {"KRW": (5_000, 0), "USD": (1, 0)}


async def test_a_statement_newest_first_pages_without_gap_or_overlap(database: Database) -> None:
    customer_id = await a_funded_customer(database, 5_000)
    for _ in range(5):
        payment = a_payment(100, customer_id=customer_id)
        await hold(database, payment)
        await release(database, payment)

    read: list[int] = []
    place = None
    while True:
        async with database.read(SYSTEM) as tx:
            page = await wallet.transactions(tx, customer_id, place, limit=4)
        read += [row.id for row in page.items]
        if page.following is None:
            break
        place = page.following

    assert len(read) == len(set(read)) == 1 + 5 * 4
    assert read == sorted(read, reverse=True)


OWNERS = 2
CURRENCIES = ("KRW", "USD")
PAYMENTS = st.lists(
    st.tuples(st.integers(0, OWNERS - 1), st.sampled_from(CURRENCIES), st.integers(1, 60)),
    min_size=1,
    max_size=4,
)
STEPS = st.lists(
    st.tuples(st.just("credit"), st.integers(0, OWNERS - 1), st.sampled_from(CURRENCIES))
    | st.tuples(st.sampled_from(["hold", "release", "commit"]), st.integers(0, 3), st.just("")),
    min_size=8,
    max_size=25,
)


class Model:
    """A wallet without a database: what the rows must say after every step."""

    def __init__(self) -> None:
        self.available: Counter[tuple[str, str]] = Counter()
        self.held: Counter[tuple[str, str]] = Counter()
        self.states: dict[str, str] = {}

    def credit(self, customer_id: str, currency: str, amount: int) -> None:
        self.available[customer_id, currency] += amount

    def hold(self, payment: PaymentRequest) -> bool:
        wallet_ = (payment.customer_id, payment.currency)
        if payment.payment_id in self.states or self.available[wallet_] < payment.wallet_amount:
            return False
        self.states[payment.payment_id] = "HELD"
        self.available[wallet_] -= payment.wallet_amount
        self.held[wallet_] += payment.wallet_amount
        return True

    def release(self, payment: PaymentRequest) -> bool:
        before = self.states.setdefault(payment.payment_id, "RELEASED")
        if before != "HELD":
            return False
        self._end(payment, "RELEASED")
        self.available[payment.customer_id, payment.currency] += payment.wallet_amount
        return True

    def commit(self, payment: PaymentRequest) -> bool:
        if self.states.get(payment.payment_id) != "HELD":
            return False
        self._end(payment, "COMMITTED")
        return True

    def _end(self, payment: PaymentRequest, ended: str) -> None:
        self.states[payment.payment_id] = ended
        self.held[payment.customer_id, payment.currency] -= payment.wallet_amount

    def balances(self, customer_id: str) -> dict[str, tuple[int, int]]:
        found = {
            currency: (self.available[customer_id, currency], self.held[customer_id, currency])
            for currency in CURRENCIES
        }
        return {currency: pair for currency, pair in found.items() if any(pair)}


async def committed(database: Database, payment: PaymentRequest) -> bool:
    try:
        await commit(database, payment)
    except (RuntimeError, HoldReleased):
        return False
    return True


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parts=PAYMENTS, steps=STEPS)
async def test_any_sequence_of_steps_agrees_with_the_model_after_every_one(
    database: Database,
    parts: list[tuple[int, str, int]],
    steps: list[tuple[str, int, str]],
) -> None:
    customers = [new_customer() for _ in range(OWNERS)]
    payments = [
        a_payment(amount, customer_id=customers[owner], currency=currency)
        for owner, currency, amount in parts
    ]
    model = Model()
    for what, number, currency in steps:
        payment = payments[number % len(payments)]
        if what == "credit":
            async with database.begin(SYSTEM) as tx:
                await credit(tx, customers[number], currency, 50)
            model.credit(customers[number], currency, 50)
        elif what == "hold":
            assert await hold(database, payment) == model.hold(payment)
        elif what == "release":
            assert await release(database, payment) == model.release(payment)
        else:
            assert await committed(database, payment) == model.commit(payment)

        for customer_id in customers:
            expected = model.balances(customer_id)
            assert await balances(database, customer_id) == expected
            assert await posted(database, customer_id) == expected
    for payment in payments:
        assert await state(database, payment) == model.states.get(payment.payment_id)
