"""Workflows are found in the Temporal UI the way docs/operations.md says."""

from domain.approval import Verdict
from domain.workflow_id import invoice_workflow_id, settlement_workflow_id
from tests.support.conditions import eventually
from tests.support.months import ASKS, Months
from workflows.monthly_settlement import MonthlySettlement


async def found(months: Months, query: str, *ids: str) -> None:
    """Wait until the query finds these workflows, and no others: the list is a moment behind."""

    async def seen() -> bool:
        return {each.id async for each in months.client.list_workflows(query)} == set(ids)

    await eventually(seen)


async def test_a_month_is_found_by_customer_period_and_outcome(months: Months) -> None:
    await months.price()
    await months.use(1000)
    settled = await months.settle()
    invoice_id = settled.invoice_id or ""
    await months.paid(invoice_id)
    settlement, owner = (
        settlement_workflow_id(months.customer_id, "2026-05"),
        invoice_workflow_id(invoice_id),
    )
    whose = f"CustomerId = '{months.customer_id}' AND Period = '2026-05'"

    await found(months, f"{whose} AND Outcome = 'SETTLED'", settlement)
    await found(months, f"{whose} AND Outcome = 'PAID'", owner)
    await found(months, f"InvoiceId = '{invoice_id}' AND WorkflowType = 'InvoiceRetry'", owner)


async def test_a_draft_that_waits_is_found_until_somebody_decides(months: Months) -> None:
    await months.price()
    await months.use(5000)
    running = await months.start(approval=ASKS)
    await months.waiting()
    waits = "Outcome = 'AWAITING_APPROVAL' AND ExecutionStatus = 'Running'"

    await found(months, f"CustomerId = '{months.customer_id}' AND {waits}", running.id)

    verdict = Verdict(False, "a test account", "operator-1")
    await running.execute_update(MonthlySettlement.decide, verdict)
    await found(months, f"CustomerId = '{months.customer_id}' AND {waits}")
