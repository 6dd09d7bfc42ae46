"""How each workflow is started, once: the client, a parent and the Schedule take it from here.

Nobody sets another option of a start, so a workflow is found in the Temporal UI, and goes on after
its worker died, in the same way whoever started it.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import TypedDict

from temporalio import workflow
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

with workflow.unsafe.imports_passed_through():
    from domain.dead_letter import JobRequest
    from domain.gateway_health import HurryRequest
    from domain.invoice import InvoiceRequest
    from domain.money import format_amount
    from domain.payment import PayableType, PaymentRequest
    from domain.refund import RefundRequest
    from domain.run import RunRequest
    from domain.settlement import SettlementRequest
    from domain.workflow_id import (
        OUTBOX_WORKFLOW_ID,
        SCHEDULED_WORKFLOW_ID,
        VERIFICATION_WORKFLOW_ID,
        dead_letter_job_workflow_id,
        gateway_hurry_workflow_id,
        invoice_workflow_id,
        payment_workflow_id,
        refund_workflow_id,
        settlement_run_workflow_id,
        settlement_workflow_id,
    )

from workflows import policies
from workflows.search_attributes import CUSTOMER_ID, INVOICE_ID, ORDER_ID, PERIOD

_NEVER_BEFORE = WorkflowIDReusePolicy.REJECT_DUPLICATE
"""For who relies on that it never ran: Temporal knows."""
_AGAIN = WorkflowIDReusePolicy.ALLOW_DUPLICATE
"""Whatever has ended may run again: it reads from the rows where things stand."""


class ByClient(TypedDict):
    """For `client.start_workflow`."""

    id: str
    task_queue: str
    task_timeout: timedelta
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    search_attributes: TypedSearchAttributes
    static_summary: str
    priority: Priority
    start_signal: str | None


class BySchedule(TypedDict):
    """For `ScheduleActionStartWorkflow`."""

    id: str
    task_queue: str
    task_timeout: timedelta
    typed_search_attributes: TypedSearchAttributes
    static_summary: str
    priority: Priority


@dataclass(frozen=True)
class Start:
    """The options of one start.

    The priority is always said: a child would inherit its parent's. `customer_id`: whose turn it
    takes. `signal`: what a client tells it, whether it runs already or begins with it.
    """

    id: str
    task_queue: str
    summary: str
    attributes: tuple[SearchAttributePair[str], ...] = ()
    reuse: WorkflowIDReusePolicy = _AGAIN
    customer_id: str | None = None
    place: int = policies.USUAL
    signal: str | None = None

    @property
    def priority(self) -> Priority:
        return policies.turn(self.place, self.customer_id)

    def by_client(self) -> ByClient:
        """A start finds the running workflow if there is one. Raises `WorkflowAlreadyStartedError`
        in the client when it may not run again."""
        return {
            "id": self.id,
            "task_queue": self.task_queue,
            "task_timeout": policies.TASK_TIMEOUT,
            "id_reuse_policy": self.reuse,
            "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
            "search_attributes": TypedSearchAttributes(self.attributes),
            "static_summary": self.summary,
            "priority": self.priority,
            "start_signal": self.signal,
        }

    def as_child(self) -> workflow.ChildWorkflowConfig:
        """It outlives its parent, which waits for its start only. Raises
        `WorkflowAlreadyStartedError` in the parent when it runs or may not run again."""
        return {
            "id": self.id,
            "task_queue": self.task_queue,
            "task_timeout": policies.TASK_TIMEOUT,
            "id_reuse_policy": self.reuse,
            "parent_close_policy": workflow.ParentClosePolicy.ABANDON,
            "search_attributes": TypedSearchAttributes(self.attributes),
            "static_summary": self.summary,
            "priority": self.priority,
        }

    def by_schedule(self) -> BySchedule:
        """The same each time."""
        return {
            "id": self.id,
            "task_queue": self.task_queue,
            "task_timeout": policies.TASK_TIMEOUT,
            "typed_search_attributes": TypedSearchAttributes(self.attributes),
            "static_summary": self.summary,
            "priority": self.priority,
        }


def of_payment(payment: PaymentRequest) -> Start:
    amount = format_amount(payment.money, payment.currency)
    return Start(
        payment_workflow_id(payment.payment_id),
        policies.PAYMENTS,
        f"{amount} from {payment.customer_id} for {payment.payable_type}",
        (SearchAttributePair(CUSTOMER_ID, payment.customer_id), *_payable(payment)),
        _NEVER_BEFORE if payment.new else _AGAIN,
        payment.customer_id,
    )


def of_refund(refund: RefundRequest) -> Start:
    late = ", captured late" if refund.late_capture else ""
    return Start(
        refund_workflow_id(refund.refund_id),
        policies.PAYMENTS,
        f"give {format_amount(refund.worth, refund.currency)} back{late}",
        (SearchAttributePair(CUSTOMER_ID, refund.customer_id),),
        customer_id=refund.customer_id,
    )


def of_invoice(invoice: InvoiceRequest) -> Start:
    return Start(
        invoice_workflow_id(invoice.invoice_id),
        policies.SETTLEMENT,
        f"collect {format_amount(invoice.total, invoice.currency)}"
        if invoice.total
        else "nothing to collect",
        (
            SearchAttributePair(CUSTOMER_ID, invoice.customer_id),
            SearchAttributePair(INVOICE_ID, invoice.invoice_id),
            SearchAttributePair(PERIOD, invoice.period),
        ),
        customer_id=invoice.customer_id,
    )


def of_settlement(settlement: SettlementRequest) -> Start:
    """A month that somebody wants now goes before those of a run."""
    return Start(
        settlement_workflow_id(settlement.customer_id, settlement.period),
        policies.SETTLEMENT,
        f"settle {settlement.period} of {settlement.customer_id}",
        (
            SearchAttributePair(CUSTOMER_ID, settlement.customer_id),
            SearchAttributePair(PERIOD, settlement.period),
        ),
        customer_id=settlement.customer_id,
        place=policies.FIRST if settlement.run is None else policies.USUAL,
    )


def of_settlement_run(run: RunRequest) -> Start:
    return Start(
        settlement_run_workflow_id(run.period, run.customers),
        policies.SETTLEMENT,
        f"settle {run.period}",
        (SearchAttributePair(PERIOD, run.period),),
    )


def of_scheduled_settlement() -> Start:
    """Of the small workflow that the monthly Schedule starts."""
    return Start(
        SCHEDULED_WORKFLOW_ID, policies.SETTLEMENT, "start the settlement of the month before"
    )


def of_verification() -> Start:
    return Start(
        VERIFICATION_WORKFLOW_ID, policies.VERIFICATION, "does everything agree with everything?"
    )


def of_dead_letter_job(job: JobRequest) -> Start:
    return Start(
        dead_letter_job_workflow_id(job.job_id),
        policies.SETTLEMENT,
        "decide about many dead letters",
    )


def of_gateway_hurry(hurry: HurryRequest) -> Start:
    return Start(
        gateway_hurry_workflow_id(hurry.gateway),
        policies.PAYMENTS,
        f"whoever waits for {hurry.gateway} asks it now",
        signal="again",
    )


def of_relay() -> Start:
    return Start(OUTBOX_WORKFLOW_ID, policies.OUTBOX, "publishes events")


def _payable(payment: PaymentRequest) -> list[SearchAttributePair[str]]:
    """What it pays for, where that is found by itself."""
    if payment.payable_type is PayableType.ORDER:
        return [SearchAttributePair(ORDER_ID, payment.payable_id)]
    if payment.payable_type is not PayableType.INVOICE:
        return []
    found_by = [SearchAttributePair(INVOICE_ID, payment.payable_id)]
    # One that was made before payments knew their month has none.
    return found_by + ([SearchAttributePair(PERIOD, payment.period)] if payment.period else [])
