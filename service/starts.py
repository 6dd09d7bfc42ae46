"""Starting workflows with a client, the same way from the API, the command line and the sweeper."""

from contextlib import suppress
from dataclasses import replace

from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError

from domain.dead_letter import JobRequest, JobState
from domain.gateway_health import HurryRequest
from domain.invoice import InvoiceOutcome, InvoiceRequest
from domain.payment import PaymentOutcome, PaymentRequest
from domain.refund import RefundOutcome, RefundRequest
from domain.run import Progress, RunRequest
from domain.settlement import SettlementOutcome, SettlementRequest
from workflows import starts
from workflows.dead_letter_job import DeadLetterJob
from workflows.gateway_hurry import GatewayHurry
from workflows.invoice_retry import InvoiceRetry
from workflows.monthly_settlement import MonthlySettlement
from workflows.outbox_relay import OutboxRelay
from workflows.payment_saga import PaymentSaga
from workflows.refund_saga import RefundSaga
from workflows.settlement_run import SettlementRun


async def start_payment(
    client: Client, payment: PaymentRequest
) -> WorkflowHandle[PaymentSaga, PaymentOutcome]:
    """Start the payment's owner, as a new one if it never ran, or find the one that runs. One that
    has ended may run again, whose row is open all the same (its database was restored): it reads
    from the rows where things stand."""
    if payment.new:
        with suppress(WorkflowAlreadyStartedError):
            return await _start_payment(client, payment)
    return await _start_payment(client, replace(payment, new=False))


async def _start_payment(
    client: Client, payment: PaymentRequest
) -> WorkflowHandle[PaymentSaga, PaymentOutcome]:
    return await client.start_workflow(
        PaymentSaga.run, payment, **starts.of_payment(payment).by_client()
    )


async def start_refund(
    client: Client, refund: RefundRequest
) -> WorkflowHandle[RefundSaga, RefundOutcome]:
    """Start the refund's owner, or find the one that runs; one that has ended may run again."""
    return await client.start_workflow(
        RefundSaga.run, refund, **starts.of_refund(refund).by_client()
    )


async def start_settlement(
    client: Client, settlement: SettlementRequest
) -> WorkflowHandle[MonthlySettlement, SettlementOutcome]:
    """Settle a customer's month, or find the settlement that runs. One that has ended may run
    again: the invoice that is there is found, not made twice."""
    return await client.start_workflow(
        MonthlySettlement.run, settlement, **starts.of_settlement(settlement).by_client()
    )


async def start_settlement_run(
    client: Client, run: RunRequest
) -> WorkflowHandle[SettlementRun, Progress]:
    """Settle a month for everybody (or the named customers), or find the run that is under way."""
    return await client.start_workflow(
        SettlementRun.run, run, **starts.of_settlement_run(run).by_client()
    )


async def start_invoice(
    client: Client, issued: InvoiceRequest
) -> WorkflowHandle[InvoiceRetry, InvoiceOutcome]:
    """Start the owner of an issued invoice, or find the one that runs. One that has ended may run
    again: it reads from the rows where the invoice stands."""
    return await client.start_workflow(
        InvoiceRetry.run, issued, **starts.of_invoice(issued).by_client()
    )


async def start_dead_letter_job(
    client: Client, job: JobRequest
) -> WorkflowHandle[DeadLetterJob, JobState]:
    """Let a job go on, or find the workflow that is at it. One that has ended may run again: it
    reads from the rows how far the job is."""
    return await client.start_workflow(
        DeadLetterJob.run, job, **starts.of_dead_letter_job(job).by_client()
    )


async def start_gateway_hurry(client: Client, hurry: HurryRequest) -> None:
    """Have everybody ask who waits for a PG; where that is under way, once more when it is done."""
    await client.start_workflow(
        GatewayHurry.run, hurry, **starts.of_gateway_hurry(hurry).by_client()
    )


async def start_relay(client: Client) -> None:
    """Start the relay of the outbox, or find the one that runs."""
    await client.start_workflow(OutboxRelay.run, **starts.of_relay().by_client())
