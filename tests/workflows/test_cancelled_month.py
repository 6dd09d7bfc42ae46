"""A cancelled invoice gives its month and its usage back; what is written off was owed."""

import asyncio
from typing import Any

import pytest

from domain.approval import ApprovalPolicy, Verdict
from domain.invoice import Closing
from domain.workflow_id import invoice_workflow_id
from store import invoice
from tests.support.dunning import SOFT_DECLINE, closes
from tests.support.months import Months
from workflows.invoice_retry import InvoiceRetry
from workflows.monthly_settlement import MonthlySettlement

JUNE = "2026-06"
ANYTHING = ApprovalPolicy(thresholds={"KRW": 10**9}, anomaly_factor=10**9)
CALL = {"resourceType": "API_CALL", "model": "PER_UNIT", "unitPrice": "1"}
GPU = {**CALL, "resourceType": "GPU_HOUR"}
COMMITMENT = 100_000


@pytest.fixture
async def unpaid(months: Months) -> Months:
    """A customer whose card is declined: its invoices stay open."""
    await months.billing.add_card(SOFT_DECLINE)
    return months


async def settled(months: Months, period: str = "2026-05") -> str:
    outcome = await months.settle(period, approval=ANYTHING)
    assert outcome.invoice_id is not None, outcome
    return outcome.invoice_id


async def close(months: Months, invoice_id: str, how: Closing = Closing.CANCEL) -> str:
    owner = months.client.get_workflow_handle(invoice_workflow_id(invoice_id))
    return (await owner.execute_update(InvoiceRetry.close, closes(how))).status


async def lines(months: Months, invoice_id: str) -> list[tuple[Any, ...]]:
    async with months.billing.database.engine.connect() as tx:
        rows = await invoice.lines(tx, invoice_id)
    return [
        (row.kind, row.resource_type, str(row.period), int(row.quantity), row.amount)
        for row in rows
    ]


async def test_a_cancelled_month_is_settled_again_with_its_usage_and_its_fee(
    unpaid: Months,
) -> None:
    await unpaid.price(flatFee=500)
    await unpaid.use(1000)
    first = await settled(unpaid)

    assert await close(unpaid, first) == "CANCELLED"
    assert await unpaid.claims() == [None]
    second = await settled(unpaid)

    [cancelled, again] = await unpaid.invoices()
    assert (cancelled.id, cancelled.status, cancelled.total) == (first, "CANCELLED", 1500)
    assert (again.id, again.status, again.total) == (second, "ISSUED", 1500)
    assert cancelled.number is not None
    assert again.number is not None
    assert again.number > cancelled.number
    assert await unpaid.claims() == [second]
    assert (await unpaid.settle()).invoice_id == second


async def test_twenty_settlements_of_a_cancelled_month_make_one_invoice(unpaid: Months) -> None:
    await unpaid.price()
    await unpaid.use(1000)
    first = await settled(unpaid)
    await close(unpaid, first)

    await asyncio.gather(*(unpaid.settle() for _ in range(20)))

    assert [row.status for row in await unpaid.invoices()] == ["CANCELLED", "ISSUED"]


async def test_a_minimum_that_was_cancelled_pays_for_nothing(unpaid: Months) -> None:
    await unpaid.price(minimum=COMMITMENT)
    await unpaid.use(5_000)
    first = await settled(unpaid)
    assert [each[-1] for each in await lines(unpaid, first)] == [5_000, 95_000]

    await close(unpaid, first)
    await unpaid.use(60_000)
    second = await settled(unpaid)

    assert await lines(unpaid, second) == [
        ("USAGE", "API_CALL", "2026-05", 65_000, 65_000),
        ("MINIMUM", None, "2026-05", 1, 35_000),
    ]


async def test_what_was_written_off_was_owed_and_stays_billed(unpaid: Months) -> None:
    await unpaid.price(minimum=COMMITMENT)
    await unpaid.use(5_000)
    first = await settled(unpaid)
    assert await close(unpaid, first, Closing.WRITE_OFF) == "WRITTEN_OFF"

    await unpaid.use(60_000)
    await unpaid.use(1, month=6)
    june = await settled(unpaid, JUNE)

    assert ("LATE_USAGE", "API_CALL", "2026-05", 60_000, 0) in await lines(unpaid, june)
    assert (await unpaid.settle()).invoice_id == first


async def test_late_usage_that_a_cancelled_minimum_had_paid_for_is_billed_with_the_month(
    unpaid: Months,
) -> None:
    """Also what is of another resource than all that is new."""
    await unpaid.price(minimum=COMMITMENT, charges=[CALL, GPU])
    await unpaid.use(5_000)
    first = await settled(unpaid)
    await unpaid.use(120_000, resource_type="GPU_HOUR")
    await unpaid.use(1, month=6)
    june = await settled(unpaid, JUNE)
    assert ("LATE_USAGE", "GPU_HOUR", "2026-05", 120_000, 25_000) in await lines(unpaid, june)

    await close(unpaid, first)
    again = await settled(unpaid)

    assert await lines(unpaid, again) == [
        ("USAGE", "API_CALL", "2026-05", 5_000, 5_000),
        ("USAGE", "GPU_HOUR", "2026-05", 0, 95_000),
    ]


async def test_free_units_that_a_cancelled_invoice_gave_are_given_once(unpaid: Months) -> None:
    await unpaid.price(charges=[{**CALL, "freeUnits": "1000"}])
    await unpaid.use(1_500)
    first = await settled(unpaid)
    await unpaid.use(300)
    await unpaid.use(1, month=6)
    june = await settled(unpaid, JUNE)
    assert ("LATE_USAGE", "API_CALL", "2026-05", 300, 300) in await lines(unpaid, june)

    await close(unpaid, first)
    again = await settled(unpaid)

    assert await lines(unpaid, again) == [("USAGE", "API_CALL", "2026-05", 1_500, 500)]


async def test_usage_of_a_cancelled_invoice_is_not_billed_by_the_next_month_unseen(
    unpaid: Months,
) -> None:
    """Neither its own nor what it had late of a month that stands."""
    await unpaid.price()
    await unpaid.use(1_000)
    await settled(unpaid)
    await unpaid.use(70)
    await unpaid.use(1_000, month=6)
    june = await settled(unpaid, JUNE)
    await close(unpaid, june)
    await unpaid.use(1, month=7)

    july = await unpaid.start("2026-07", approval=ANYTHING)
    draft = await unpaid.waiting("2026-07")

    assert draft.reason == (
        "not-rejected-before (usage of 2026-05, 2026-06, whose draft was rejected or whose invoice "
        "was cancelled)"
    )
    await july.execute_update(MonthlySettlement.decide, Verdict(True, "as agreed", "operator-1"))
    assert await lines(unpaid, draft.id) == [
        ("USAGE", "API_CALL", "2026-07", 1, 1),
        ("LATE_USAGE", "API_CALL", "2026-05", 70, 70),
        ("LATE_USAGE", "API_CALL", "2026-06", 1_000, 1_000),
    ]


async def test_what_was_used_in_a_cancelled_month_is_counted_once(unpaid: Months) -> None:
    """Else the months after it would look unusual: 1,000 a month are the trend."""
    await unpaid.price()
    await unpaid.use(1_000)
    await close(unpaid, await settled(unpaid))
    await settled(unpaid)
    await unpaid.use(5_001, month=6)

    await unpaid.start(JUNE)
    draft = await unpaid.waiting(JUNE)

    assert draft.reason == "usual (5001 of API_CALL against a mean of 1000)"
