"""Usage that comes after its month was settled, or that its month could not bill."""

from datetime import datetime
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from domain.access import SYSTEM
from domain.approval import Verdict
from store import customer, invoice
from tests.support.months import ASKS, Months
from workflows.monthly_settlement import MonthlySettlement

APPROVED = Verdict(True, "looks right", "operator-1")
REJECTED = Verdict(False, "a mistake in metering", "operator-1")
JUNE = "2026-06"
CALL = {"resourceType": "API_CALL", "model": "PER_UNIT", "unitPrice": "1"}


async def lines(months: Months, invoice_id: str | None) -> list[tuple[Any, ...]]:
    async with months.billing.database.engine.connect() as tx:
        rows = await invoice.lines(tx, invoice_id or "")
    return [(row.kind, row.resource_type, str(row.period), row.amount) for row in rows]


async def test_what_may_could_not_price_is_billed_once_it_has_a_price(months: Months) -> None:
    code = await months.price()
    await months.use(1000)
    await months.settle()
    await months.use(7, resource_type="GPU_HOUR")
    await months.use(500, month=6)

    with pytest.raises(WorkflowFailureError) as failed:
        await months.settle(JUNE)
    assert "GPU_HOUR of 2026-05" in str(failed.value.cause)
    gpu = {**CALL, "resourceType": "GPU_HOUR", "unitPrice": "30"}
    dear = {**CALL, "unitPrice": "9"}
    await months.price(code=code, charges=[dear, gpu], effectiveFrom="2020-01-02T00:00:00Z")
    june = await months.settle(JUNE)

    assert await lines(months, june.invoice_id) == [
        ("USAGE", "API_CALL", "2026-06", 4500),
        ("LATE_USAGE", "GPU_HOUR", "2026-05", 210),
    ]


async def test_late_usage_of_a_month_in_another_currency_costs_what_this_month_says(
    months: Months,
) -> None:
    """Nothing that was used stays unbilled for ever, and currencies are never added."""
    await months.price()
    await months.use(1000)
    await months.settle()
    await months.use(10)
    await months.price("3", currency="USD")
    await months.use(1000, month=6)

    june = await months.settle(JUNE)

    assert await lines(months, june.invoice_id) == [
        ("USAGE", "API_CALL", "2026-06", 3000),
        ("LATE_USAGE", "API_CALL", "2026-05", 30),
    ]
    assert None not in await months.claims()


async def test_an_allowance_is_used_up_once_whatever_the_currency(months: Months) -> None:
    ten_free = {**CALL, "freeUnits": "10"}
    await months.price(charges=[ten_free])
    await months.use(11)
    await months.settle()
    await months.use(10)
    await months.price(charges=[ten_free], currency="USD")
    await months.use(11, month=6)

    june = await months.settle(JUNE)

    assert await lines(months, june.invoice_id) == [
        ("USAGE", "API_CALL", "2026-06", 1),
        ("LATE_USAGE", "API_CALL", "2026-05", 10),
    ]


async def test_what_was_billed_by_tiers_in_another_currency_is_for_a_person(
    months: Months,
) -> None:
    tiers = [{"upTo": "100", "unitPrice": "2"}, {"upTo": None, "unitPrice": "1"}]
    tiered = {"resourceType": "API_CALL", "model": "GRADUATED", "tiers": tiers}
    await months.price(charges=[tiered])
    await months.use(150)
    await months.settle()
    await months.use(10)
    await months.price(charges=[tiered], currency="USD")
    await months.use(150, month=6)

    running = await months.start(JUNE)
    draft = await months.waiting(JUNE)

    assert draft.reason == "comparable (API_CALL of 2026-05, of which 150 were billed in KRW)"
    await running.execute_update(MonthlySettlement.decide, APPROVED)
    assert ("LATE_USAGE", "API_CALL", "2026-05", 10) in await lines(months, draft.id)


@pytest.mark.parametrize("verdict", [APPROVED, REJECTED], ids=["approved", "rejected"])
async def test_what_is_free_once_is_free_once_though_may_still_waits(
    months: Months, verdict: Verdict
) -> None:
    """Late usage of a month that is not decided yet is left for the invoice after the decision."""
    await months.price(charges=[{**CALL, "freeUnits": "1000"}])
    for month in (5, 6, 7):
        await months.use(4000, month=month)
    may = await months.start(approval=ASKS)
    await months.waiting()
    await months.use(1000)

    june = await months.settle(JUNE)
    await may.execute_update(MonthlySettlement.decide, verdict)
    await months.settle()
    await months.settle("2026-07")

    assert await lines(months, june.invoice_id) == [("USAGE", "API_CALL", "2026-06", 3000)]
    issued = [row.total for row in await months.invoices() if row.number is not None]
    assert sum(issued) == 4000 + 3000 + 3000
    assert None not in await months.claims()


async def test_a_minimum_that_was_never_taken_pays_for_nothing(months: Months) -> None:
    await months.price(minimum=5000)
    await months.use(1000)
    may = await months.start(approval=ASKS)
    await months.waiting()
    await months.use(3000)
    await months.use(1000, month=6)
    await months.settle(JUNE)

    await may.execute_update(MonthlySettlement.decide, REJECTED)
    await months.use(10_000)
    again = await months.settle()

    assert await lines(months, again.invoice_id) == [("USAGE", "API_CALL", "2026-05", 14_000)]


async def test_a_month_whose_usage_is_on_a_draft_is_settled_after_its_decision(
    months: Months,
) -> None:
    await months.price()
    await months.use(3000)
    may = await months.start(approval=ASKS)
    await months.waiting()
    await may.execute_update(MonthlySettlement.decide, REJECTED)
    june = await months.start(JUNE)
    await months.waiting(JUNE)

    with pytest.raises(WorkflowFailureError) as failed:
        await months.settle()
    assert "waits for approval: decide it first" in str(failed.value.cause)
    await june.execute_update(MonthlySettlement.decide, REJECTED)

    assert (await months.settle()).status == "SETTLED"
    assert None not in await months.claims()


async def test_usage_of_a_month_without_a_plan_waits_until_somebody_says_which(
    months: Months,
) -> None:
    await months.price("70", plan_from="2026-06-01T00:00:00Z")
    await months.use(10)
    await months.use(10, month=6)
    with pytest.raises(WorkflowFailureError) as failed:
        await months.settle(JUNE)
    assert "no plan with prices for 2026-05" in str(failed.value.cause)

    await months.price("1")
    june = await months.settle(JUNE)

    assert await lines(months, june.invoice_id) == [
        ("USAGE", "API_CALL", "2026-06", 700),
        ("LATE_USAGE", "API_CALL", "2026-05", 10),
    ]


async def test_what_a_person_rejected_is_not_billed_later_without_one(months: Months) -> None:
    await months.price()
    await months.use(3000)
    may = await months.start(approval=ASKS)
    await months.waiting()
    await may.execute_update(MonthlySettlement.decide, REJECTED)
    await months.use(10, month=6)

    await months.start(JUNE)
    draft = await months.waiting(JUNE)

    assert draft.reason == (
        "not-rejected-before (usage of 2026-05, whose draft was rejected or whose invoice was "
        "cancelled)"
    )


async def test_nor_if_its_month_was_settled_again_in_vain(months: Months) -> None:
    code = await months.price()
    await months.use(3000)
    may = await months.start(approval=ASKS)
    await months.waiting()
    await may.execute_update(MonthlySettlement.decide, REJECTED)
    await months.use(1, resource_type="GPU_HOUR")
    with pytest.raises(WorkflowFailureError):
        await months.settle()
    await months.use(3000, month=6)

    june = await months.settle(JUNE)
    gpu = {**CALL, "resourceType": "GPU_HOUR"}
    await months.price(code=code, charges=[CALL, gpu], effectiveFrom="2020-01-02T00:00:00Z")

    assert await lines(months, june.invoice_id) == [("USAGE", "API_CALL", "2026-06", 3000)]
    assert (await months.settle()).status == "SETTLED"


async def test_a_draft_that_cannot_be_issued_keeps_no_usage_of_other_months(
    months: Months,
) -> None:
    await months.price()
    await months.use(1000)
    await months.use(1, month=6, resource_type="GPU_HOUR")

    with pytest.raises(WorkflowFailureError):
        await months.settle(JUNE)
    may = await months.settle()

    assert await lines(months, may.invoice_id) == [("USAGE", "API_CALL", "2026-05", 1000)]


async def test_usage_that_stops_is_looked_at_once(months: Months) -> None:
    await months.price(flatFee=100)
    await months.use(50, month=4)
    await months.settle("2026-04")

    await months.start()
    draft = await months.waiting()
    outcome = await months.settle(JUNE)

    assert draft.reason == "usual (0 of API_CALL against a mean of 50)"
    assert outcome.status == "SETTLED"


async def test_a_month_is_the_same_for_whoever_selects_and_whoever_names(months: Months) -> None:
    """A customer from before abbreviations were refused: for PostgreSQL that zone has no summer,
    so what came half an hour after the end of August was billed as late usage of August."""
    async with months.billing.database.begin(SYSTEM) as tx:
        await customer.agree(tx, months.customer_id, time_zone="CET")
    await months.price(charges=[{**CALL, "freeUnits": "1000"}])
    await months.use(1500, month=8)
    await months.use_at(datetime.fromisoformat("2026-09-01T00:30+02:00"), 1300)

    august, september = await months.settle("2026-08"), await months.settle("2026-09")

    assert await lines(months, august.invoice_id) == [("USAGE", "API_CALL", "2026-08", 500)]
    assert await lines(months, september.invoice_id) == [("USAGE", "API_CALL", "2026-09", 300)]
