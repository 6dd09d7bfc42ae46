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


def authorized_for_ever(slate: Slate) -> Slate:
    return replace(
        slate,
        payments=changed(slate.payments, 0, status="FAILED"),
        attempts=changed(slate.attempts, 0, operation="authorize", outcome="AUTHORIZED"),
    )


def told_again_after_the_end(slate: Slate) -> tuple[Row, ...]:
    first = next(event for event in slate.events if event["topic"] == "billing.order.step")
    return (*slate.events, {**first, "aggregate_version": 1000})


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
        clean_slate.steps_agree_with_their_payments,
        lambda slate: replace(slate, steps=changed(slate.steps, 0, state="UNKNOWN")),
    ),
    (clean_slate.steps_agree_with_their_payments, lambda slate: replace(slate, steps=())),
    (
        clean_slate.every_step_is_told_as_it_stands,
        lambda slate: replace(slate, steps=changed(slate.steps, 0, state="REFUSED")),
    ),
    (
        clean_slate.every_step_is_told_as_it_stands,
        lambda slate: replace(slate, orders=changed(slate.orders, 0, status="FAILED")),
    ),
    (
        clean_slate.every_step_is_told_as_it_stands,
        lambda slate: replace(slate, events=told_again_after_the_end(slate)),
    ),
    (
        clean_slate.nothing_is_held,
        lambda slate: replace(
            slate, reservations=changed(slate.reservations, 0, state="NEEDS_REVIEW")
        ),
    ),
    (
        clean_slate.nothing_is_held,
        lambda slate: replace(slate, uses=changed(slate.uses, 0, state="IN_USE")),
    ),
    (
        clean_slate.nobody_is_asked_any_more,
        lambda slate: replace(
            slate, reviews=({"reference_id": "p", "reason": "why", "closed_at": None},)
        ),
    ),
    (clean_slate.no_authorization_is_left_open, authorized_for_ever),
    (
        clean_slate.every_attempt_has_an_outcome,
        lambda slate: replace(slate, attempts=changed(slate.attempts, 0, outcome=None)),
    ),
    (
        clean_slate.coupons_count_their_live_uses,
        lambda slate: replace(slate, coupons=changed(slate.coupons, 0, used=2)),
    ),
    (
        clean_slate.coupons_count_their_live_uses,
        lambda slate: replace(
            slate,
            coupons=changed(slate.coupons, 0, used=0),
            uses=changed(slate.uses, 0, state="RESTORED"),
        ),
    ),
    (
        clean_slate.coupons_are_applied_by_who_paid,
        lambda slate: replace(slate, orders=changed(slate.orders, 0, coupon_applied_by=None)),
    ),
    (
        clean_slate.stock_is_what_its_reservations_say,
        lambda slate: replace(slate, stock=changed(slate.stock, 0, reserved=1)),
    ),
    (
        clean_slate.stock_is_what_its_reservations_say,
        lambda slate: replace(slate, stock=changed(slate.stock, 0, on_hand=5)),
    ),
    (
        clean_slate.stock_is_what_its_reservations_say,
        lambda slate: replace(slate, stock=(), reservations=()),
    ),
    (
        clean_slate.points_are_redeemed_earned_and_taken_back_once,
        lambda slate: replace(slate, payments=changed(slate.payments, 0, points_taken_back=0)),
    ),
    (
        clean_slate.points_are_redeemed_earned_and_taken_back_once,
        lambda slate: replace(slate, payments=changed(slate.payments, 0, points_earned=0)),
    ),
    (
        clean_slate.points_are_redeemed_earned_and_taken_back_once,
        lambda slate: replace(slate, payments=changed(slate.payments, 0, points_amount=0)),
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
    """An order with everything, partly refunded: clean."""
    cashier = Cashier(billing, temporal_client, faults)
    await billing.top_up(5000)
    paid = await cashier.prepare(1000, 2000, goods=await cashier.goods())
    await cashier.pay(paid)
    await cashier.refund(await cashier.prepare_refund(paid, 500))
    return await assert_clean_slate(billing)


async def test_every_planted_residue_is_found_by_its_invariant(slate: Slate) -> None:
    for invariant, plant in PLANTED:
        with pytest.raises(Residue):
            invariant(plant(slate))
    assert {invariant for invariant, _ in PLANTED} == set(INVARIANTS)
