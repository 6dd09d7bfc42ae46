"""The comparing program must be able to fail: every planted residue is found, and named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import Client

from tests import clean_slate
from tests.billing import Billing
from tests.cashier import Cashier
from tests.clean_slate import INVARIANTS, Residue, Row, Slate, assert_clean_slate
from tests.faults import FaultInjector

Invariant = Callable[[Slate], None]


def changed(rows: tuple[Row, ...], number: int, **values: Any) -> tuple[Row, ...]:
    """The same rows, but one of them says something else."""
    return tuple({**row, **values} if at == number else row for at, row in enumerate(rows))


def book_without_capture(slate: Slate) -> Slate:
    return replace(slate, books={id_: {} for id_ in slate.books})


def twice_captured(slate: Slate) -> Slate:
    books = {id_: {"KRW": {"captured": 4000, "refunded": 500}} for id_ in slate.books}
    return replace(slate, books=books)


PLANTED: list[tuple[Invariant, Callable[[Slate], Slate]]] = [
    (
        clean_slate.every_transaction_balances,
        lambda slate: replace(slate, postings=slate.postings[1:]),
    ),
    (
        clean_slate.wallets_are_the_sum_of_their_postings,
        lambda slate: replace(slate, wallets=changed(slate.wallets, 0, available=1)),
    ),
    (
        clean_slate.nothing_is_under_way,
        lambda slate: replace(slate, payments=changed(slate.payments, 0, status="UNKNOWN")),
    ),
    (
        clean_slate.nothing_is_under_way,
        lambda slate: replace(slate, refunds=changed(slate.refunds, 0, status="PENDING")),
    ),
    (
        clean_slate.nothing_is_held,
        lambda slate: replace(slate, wallets=changed(slate.wallets, 0, held=1000)),
    ),
    (
        clean_slate.holds_end_as_their_payments,
        lambda slate: replace(slate, holds=changed(slate.holds, 0, state="RELEASED")),
    ),
    (clean_slate.holds_end_as_their_payments, lambda slate: replace(slate, holds=())),
    (clean_slate.the_gateways_book_is_the_ledger, book_without_capture),
    (clean_slate.the_gateways_book_is_the_ledger, twice_captured),
    (clean_slate.payments_took_all_or_nothing, twice_captured),
    (
        clean_slate.payments_took_all_or_nothing,
        lambda slate: replace(slate, payments=changed(slate.payments, 0, status="FAILED")),
    ),
    (
        clean_slate.suspense_is_empty,
        lambda slate: replace(
            slate, postings=changed(slate.postings, 0, account="suspense:late-captures")
        ),
    ),
    (
        clean_slate.orders_agree_with_their_payments,
        lambda slate: replace(slate, orders=changed(slate.orders, 0, status="PAYING")),
    ),
    (
        clean_slate.orders_agree_with_their_payments,
        lambda slate: replace(slate, payments=slate.payments * 2),
    ),
    (
        clean_slate.refunds_are_within_their_captures,
        lambda slate: replace(slate, payments=changed(slate.payments, 0, card_refunded=0)),
    ),
    (
        clean_slate.steps_agree_with_their_payments,
        lambda slate: replace(slate, steps=changed(slate.steps, 0, state="UNDONE")),
    ),
    (
        clean_slate.every_end_is_told_once,
        lambda slate: replace(slate, events=(*slate.events, slate.events[-1])),
    ),
    (clean_slate.every_end_is_told_once, lambda slate: replace(slate, events=slate.events[:-1])),
    (
        clean_slate.versions_have_no_gap,
        lambda slate: replace(slate, events=changed(slate.events, 0, aggregate_version=7)),
    ),
]


@pytest.fixture
async def slate(billing: Billing, temporal_client: Client, faults: FaultInjector) -> Slate:
    """A split payment, partly refunded: clean."""
    cashier = Cashier(billing, temporal_client, faults)
    await billing.top_up(5000)
    paid = await cashier.prepare(1000, 2000)
    await cashier.pay(paid)
    await cashier.refund(await cashier.prepare_refund(paid, 500))
    return await assert_clean_slate(billing)


async def test_every_planted_residue_is_found_by_its_invariant(slate: Slate) -> None:
    for invariant, plant in PLANTED:
        with pytest.raises(Residue):
            invariant(plant(slate))
    assert {invariant for invariant, _ in PLANTED} == set(INVARIANTS)
