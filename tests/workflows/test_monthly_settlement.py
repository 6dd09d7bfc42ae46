"""A customer's month becomes one invoice, whoever asks how often, and whatever comes meanwhile."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError

from activities.settlement import SettlementActivities
from domain.approval import ApprovalPolicy, DeadlineEffect, Verdict
from domain.settlement import DecidedDraft
from tests.support.conditions import eventually
from tests.support.faults import Fault
from tests.support.months import ASKS, Months
from workflows.monthly_settlement import MonthlySettlement

APPROVED = Verdict(True, "looks right", "operator-1")
REJECTED = Verdict(False, "a test account", "operator-1")
SOON = replace(
    ASKS,
    remind_after=timedelta(seconds=0.5),
    escalate_after=timedelta(seconds=1),
    deadline=timedelta(seconds=1.5),
    at_deadline=DeadlineEffect.APPROVE,
)


async def test_a_month_becomes_an_invoice_that_is_paid(months: Months) -> None:
    await months.price()
    await months.use(1500)

    outcome = await months.settle()

    assert (outcome.status, outcome.reason) == ("SETTLED", None)
    await months.paid(outcome.invoice_id or "")
    [row] = await months.invoices()
    assert (row.id, row.total, row.status) == (outcome.invoice_id, 1500, "PAID")
    assert await months.claims() == [row.id]


async def test_twenty_starts_for_each_of_five_customers_make_one_invoice_each(
    months: Months,
) -> None:
    code = await months.price(flatFee=500)
    everybody = []
    for _ in range(5):
        billing = replace(months.billing, customer_id=f"c-{uuid4().hex}")
        path = f"/api/v1/customers/{billing.customer_id}"
        terms = {"planCode": code, "planFrom": "2020-01-01T00:00:00Z"}
        assert (await billing.api.put(path, json=terms)).status_code == 201
        everybody.append(replace(months, billing=billing))

    starts = (each.settle() for _ in range(20) for each in everybody)
    outcomes = await asyncio.gather(*starts)

    assert {outcome.status for outcome in outcomes} == {"SETTLED"}
    for each in everybody:
        [row] = await each.invoices()
        assert (row.total, row.number is not None) == (500, True)


async def test_every_event_is_on_exactly_one_invoice_though_usage_goes_on_arriving(
    months: Months,
) -> None:
    await months.price()
    await months.use(1)
    await asyncio.gather(*(months.use(1) for _ in range(30)), months.settle())
    await months.use(1, month=6)

    await months.settle("2026-06", approval=ApprovalPolicy(anomaly_factor=1_000))

    claims = await months.claims()
    rows = {row.id: row.total for row in await months.invoices()}
    assert len(claims) == 32
    assert {id_: claims.count(id_) for id_ in rows} == rows
    assert None not in claims


async def test_late_usage_costs_what_the_months_own_invoice_says(months: Months) -> None:
    code = await months.price("1")
    await months.use(1000)
    await months.settle()
    await months.price("7", code=code, effectiveFrom="2020-01-02T00:00:00Z")
    await months.use(100)
    await months.use(900, month=6)

    await months.settle("2026-06")

    [_, june] = await months.invoices()
    assert june.total == 900 * 7 + 100 * 1


async def test_a_draft_that_is_approved_is_issued_and_the_person_is_kept(months: Months) -> None:
    await months.price()
    await months.use(5000)
    running = await months.start(approval=ASKS)
    draft = await months.waiting()
    assert (draft.status, draft.number) == ("AWAITING_APPROVAL", None)
    assert "above 2,000 KRW" in (draft.reason or "")

    outcome = await running.execute_update(MonthlySettlement.decide, APPROVED)

    assert (outcome.status, outcome.invoice_id) == ("SETTLED", draft.id)
    await months.paid(draft.id)
    [row] = await months.invoices()
    assert row.status == "PAID"
    [decision] = row.decisions
    assert (decision["decision"], decision["actor"]) == ("approved", "operator-1")
    assert decision["reason"] == "looks right"


async def test_a_rejected_draft_frees_its_usage_for_a_new_one(months: Months) -> None:
    await months.price()
    await months.use(5000)
    running = await months.start(approval=ASKS)
    draft = await months.waiting()

    outcome = await running.execute_update(MonthlySettlement.decide, REJECTED)

    assert (outcome.status, outcome.reason) == ("REJECTED", "a test account")
    assert await months.claims() == [None]
    again = await months.settle()
    [rejected, issued] = await months.invoices()
    assert (rejected.id, rejected.status, rejected.number) == (draft.id, "REJECTED", None)
    assert rejected.decisions[0]["reason"] == "a test account"
    assert (again.invoice_id, issued.total) == (issued.id, 5000)
    assert await months.claims() == [issued.id]


async def test_a_draft_is_decided_only_once(months: Months) -> None:
    await months.price()
    await months.use(5000)
    parked = months.plan("settlement.issue", Fault.PARK_BEFORE)
    running = await months.start(approval=ASKS)
    await months.waiting()

    both = asyncio.gather(
        running.execute_update(MonthlySettlement.decide, APPROVED),
        running.execute_update(MonthlySettlement.decide, REJECTED),
        return_exceptions=True,
    )
    parked.release.set()

    refused = [each for each in await both if isinstance(each, Exception)]
    assert len(refused) == 1
    [row] = await months.invoices()
    assert len(row.decisions) == 1


@pytest.mark.parametrize(("first", "second"), [(APPROVED, REJECTED), (REJECTED, APPROVED)])
async def test_the_row_keeps_the_first_decision_whatever_comes_after_it(
    months: Months, first: Verdict, second: Verdict
) -> None:
    """A workflow task that lost against another event is done again, and may then meet another
    decision first; but the step of the first one has run."""
    await months.price()
    await months.use(5000)
    running = await months.start(approval=ASKS)
    draft = await months.waiting()
    lost = DecidedDraft(months.wanted(), draft.id, replace(first, update_id="first"))
    activities = SettlementActivities(months.billing.database)
    await (activities.issue if first.approved else activities.reject)(lost)

    outcome = await running.execute_update(MonthlySettlement.decide, second)

    assert outcome.status == ("SETTLED" if first.approved else "REJECTED")
    [row] = await months.invoices()
    [decision] = row.decisions
    assert (decision["decision"], decision["update"]) == (first.decision, "first")
    if first.approved:
        await months.paid(draft.id)


async def test_a_month_is_billed_by_the_plan_that_its_customer_had_then(months: Months) -> None:
    """Whoever changes the plan before a month is settled changes only the months that come."""
    await months.price()
    await months.use(1000)
    await months.price("70", plan_from="2026-06-01T00:00:00Z")
    await months.use(1000, month=6)

    may, june = await months.settle(), await months.settle("2026-06")

    totals = {row.id: row.total for row in await months.invoices()}
    assert may.invoice_id is not None
    assert june.invoice_id is not None
    assert (totals[may.invoice_id], totals[june.invoice_id]) == (1_000, 70_000)


async def test_a_month_before_its_customer_came_costs_nothing(months: Months) -> None:
    await months.price(flatFee=500, plan_from="2026-06-01T00:00:00Z")

    assert (await months.settle()).status == "SKIPPED"
    assert (await months.settle("2026-06")).status == "SETTLED"


async def test_what_cannot_be_priced_fails_and_is_settled_once_it_can(months: Months) -> None:
    code = await months.price(charges=[])
    await months.use(1000)

    with pytest.raises(WorkflowFailureError):
        await months.settle()

    [draft] = await months.invoices()
    assert (draft.status, draft.number) == ("DRAFT", None)
    assert "API_CALL" in (draft.reason or "")
    await months.price(code=code, effectiveFrom="2020-01-02T00:00:00Z")
    assert (await months.settle()).status == "SETTLED"
    [row] = await months.invoices()
    assert (row.id, row.total) == (draft.id, 1000)


FREE = {"resourceType": "API_CALL", "model": "PER_UNIT", "unitPrice": "1", "freeUnits": "1000"}


async def test_a_month_within_the_free_allowance_is_skipped_like_any_empty_one(
    months: Months,
) -> None:
    await months.price(charges=[FREE])
    await months.use(1000)

    outcomes = [await months.settle(), await months.settle()]

    assert [each.status for each in outcomes] == ["SKIPPED", "SKIPPED"]
    [row] = await months.invoices()
    assert (row.total, row.status, row.number) == (0, "SKIPPED", None)
    assert await months.claims() == [row.id]


async def test_what_was_free_of_a_skipped_month_is_used_up(months: Months) -> None:
    await months.price(charges=[FREE])
    await months.use(900)
    await months.settle()
    await months.use(300)
    await months.use(1100, month=6)

    await months.settle("2026-06")

    assert [row.total for row in await months.invoices()] == [0, 300]


async def test_a_skipped_month_that_is_settled_again_bills_what_has_come_since(
    months: Months,
) -> None:
    await months.price(charges=[FREE])
    await months.use(900)
    await months.settle()
    await months.use(300)

    assert (await months.settle()).status == "SETTLED"

    [row] = await months.invoices()
    assert (row.total, row.number is not None) == (200, True)
    assert await months.claims() == [row.id, row.id]


async def test_a_month_of_nothing_that_a_person_approved_is_skipped_too(months: Months) -> None:
    await months.price(charges=[FREE])
    await months.use(2000, month=4)
    await months.settle("2026-04")
    await months.use(10)
    running = await months.start()
    draft = await months.waiting()
    assert "usual" in (draft.reason or "")

    outcome = await running.execute_update(MonthlySettlement.decide, APPROVED)

    assert outcome.status == "SKIPPED"
    [_, row] = await months.invoices()
    assert (row.status, row.number, len(row.decisions)) == ("SKIPPED", None, 1)


async def test_an_invoice_of_nothing_shows_what_came_late(months: Months) -> None:
    await months.price(charges=[FREE], minimum=500)
    await months.use(1100)
    may = await months.settle()
    await months.paid(may.invoice_id or "")
    await months.price(charges=[FREE], plan_from="2026-06-01T00:00:00Z")
    await months.use(100)
    await months.use(900, month=6)

    june = await months.settle("2026-06")

    await months.paid(june.invoice_id or "")
    [_, row] = await months.invoices()
    assert (row.total, row.status, row.number is not None) == (0, "PAID", True)


async def test_a_person_who_comes_after_the_reminder_decides(months: Months) -> None:
    await months.price()
    await months.use(5000)
    running = await months.start(approval=replace(ASKS, remind_after=timedelta(seconds=0.2)))

    async def decisions() -> list[str]:
        rows = await months.invoices()
        return [each["decision"] for row in rows for each in row.decisions]

    await eventually(decisions)
    outcome = await running.execute_update(MonthlySettlement.decide, REJECTED)

    assert outcome.status == "REJECTED"
    assert await decisions() == ["reminder", "not approved"]


async def test_nobody_decides_and_the_deadline_approves(months: Months) -> None:
    await months.price()
    await months.use(5000)
    running = await months.start(approval=SOON)

    outcome = await running.result()

    closed = await running.describe()
    assert closed.close_time is not None
    assert closed.close_time - closed.start_time >= SOON.deadline
    assert outcome.status == "SETTLED"
    [row] = await months.invoices()
    names = [each["decision"] for each in row.decisions]
    assert names == ["reminder", "escalation", "deadline", "approved"]
