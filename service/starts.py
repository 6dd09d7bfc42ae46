"""Starting workflows, the same way from the API and from the sweeper.

USE_EXISTING: a start finds the running workflow. ALLOW_DUPLICATE_FAILED_ONLY: one that failed or
was terminated runs again, one that completed never does. Settlements, runs and the owners of
invoices may always run again: they read from the rows where things stand.
"""

from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from domain.invoice import InvoiceOutcome, InvoiceRequest
from domain.money import format_amount
from domain.payment import PayableType, PaymentOutcome, PaymentRequest
from domain.refund import RefundOutcome, RefundRequest
from domain.settlement import Progress, RunRequest, SettlementOutcome, SettlementRequest
from workflows import policies, search_attributes
from workflows.invoice_retry import InvoiceRetry, invoice_workflow_id
from workflows.monthly_settlement import MonthlySettlement, settlement_workflow_id
from workflows.outbox_relay import OUTBOX_WORKFLOW_ID, OutboxRelay
from workflows.payment_saga import PaymentSaga, payment_workflow_id
from workflows.refund_saga import RefundSaga, refund_workflow_id
from workflows.settlement_run import SettlementRun, settlement_run_workflow_id

_REUSE = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
_CONFLICT = WorkflowIDConflictPolicy.USE_EXISTING


async def start_payment(
    client: Client, payment: PaymentRequest
) -> WorkflowHandle[PaymentSaga, PaymentOutcome]:
    """Start the payment's owner; raises `WorkflowAlreadyStartedError` when it has completed."""
    attributes = [SearchAttributePair(search_attributes.CUSTOMER_ID, payment.customer_id)]
    if payment.payable_type is PayableType.ORDER:
        attributes.append(SearchAttributePair(search_attributes.ORDER_ID, payment.payable_id))
    amount = format_amount(payment.amount, payment.currency)
    return await client.start_workflow(
        PaymentSaga.run,
        payment,
        id=payment_workflow_id(payment.payment_id),
        task_queue=policies.PAYMENTS,
        task_timeout=policies.TASK_TIMEOUT,
        id_reuse_policy=_REUSE,
        id_conflict_policy=_CONFLICT,
        search_attributes=TypedSearchAttributes(attributes),
        static_summary=f"{amount} from {payment.customer_id} for {payment.payable_type}",
    )


async def start_refund(
    client: Client, refund: RefundRequest
) -> WorkflowHandle[RefundSaga, RefundOutcome]:
    """Start the refund's owner; raises `WorkflowAlreadyStartedError` when it has completed."""
    customer = SearchAttributePair(search_attributes.CUSTOMER_ID, refund.customer_id)
    return await client.start_workflow(
        RefundSaga.run,
        refund,
        id=refund_workflow_id(refund.refund_id),
        task_queue=policies.PAYMENTS,
        task_timeout=policies.TASK_TIMEOUT,
        id_reuse_policy=_REUSE,
        id_conflict_policy=_CONFLICT,
        search_attributes=TypedSearchAttributes([customer]),
        static_summary=f"give {format_amount(refund.amount, refund.currency)} back",
    )


async def start_settlement(
    client: Client, settlement: SettlementRequest
) -> WorkflowHandle[MonthlySettlement, SettlementOutcome]:
    """Settle a customer's month, or find the settlement that runs. One that has ended may run
    again: the invoice that is there is found, not made twice."""
    customer = SearchAttributePair(search_attributes.CUSTOMER_ID, settlement.customer_id)
    period = SearchAttributePair(search_attributes.PERIOD, settlement.period)
    return await client.start_workflow(
        MonthlySettlement.run,
        settlement,
        id=settlement_workflow_id(settlement.customer_id, settlement.period),
        task_queue=policies.SETTLEMENT,
        task_timeout=policies.TASK_TIMEOUT,
        id_conflict_policy=_CONFLICT,
        search_attributes=TypedSearchAttributes([customer, period]),
        static_summary=f"settle {settlement.period} of {settlement.customer_id}",
        priority=Priority(priority_key=1),
    )


async def start_settlement_run(
    client: Client, run: RunRequest
) -> WorkflowHandle[SettlementRun, Progress]:
    """Settle a month for everybody (or the named customers), or find the run that is under way."""
    period = SearchAttributePair(search_attributes.PERIOD, run.period)
    return await client.start_workflow(
        SettlementRun.run,
        run,
        id=settlement_run_workflow_id(run.period, run.customers),
        task_queue=policies.SETTLEMENT,
        task_timeout=policies.TASK_TIMEOUT,
        id_conflict_policy=_CONFLICT,
        search_attributes=TypedSearchAttributes([period]),
        static_summary=f"settle {run.period}",
    )


async def start_invoice(
    client: Client, owed: InvoiceRequest
) -> WorkflowHandle[InvoiceRetry, InvoiceOutcome]:
    """Start the owner of an issued invoice, or find the one that runs. One that has ended may run
    again: it reads from the rows where the invoice stands."""
    return await client.start_workflow(
        InvoiceRetry.run,
        owed,
        id=invoice_workflow_id(owed.invoice_id),
        task_queue=policies.SETTLEMENT,
        id_conflict_policy=_CONFLICT,
        search_attributes=search_attributes.of_invoice(owed),
        static_summary=f"collect {format_amount(owed.total, owed.currency)}",
    )


async def start_relay(client: Client) -> None:
    """Start the relay of the outbox, or find the one that runs."""
    await client.start_workflow(
        OutboxRelay.run,
        id=OUTBOX_WORKFLOW_ID,
        task_queue=policies.OUTBOX,
        id_conflict_policy=_CONFLICT,
        static_summary="publishes events",
    )
