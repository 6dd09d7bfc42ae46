"""Workflows of the same shapes that do nothing: what Temporal takes for a payment, and for a month.

A month is three of them. The month (draft, issue) starts the invoice and does not wait for it; the
invoice (open) starts the payment (charge, complete) and waits for its end.
"""

from datetime import timedelta
from typing import TypedDict

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.workflow import ParentClosePolicy

from runtime.workers import STICKY

QUEUE = "nothing"
MONTH_STEPS = 2
INVOICE_STEPS = 1


class _Bound(TypedDict):
    start_to_close_timeout: timedelta


BOUND: _Bound = {"start_to_close_timeout": timedelta(seconds=10)}


@activity.defn(name="nothing")
async def nothing() -> None:
    """No work at all."""


@workflow.defn(name="Nothing")
class Nothing:
    """The step shape of a card payment: charge (regular), complete (local)."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(nothing, **BOUND)
        await workflow.execute_local_activity(nothing, **BOUND)


@workflow.defn(name="NothingInvoice")
class NothingInvoice:
    """Ends when its payment has ended."""

    @workflow.run
    async def run(self) -> None:
        id_ = workflow.info().workflow_id
        for _ in range(INVOICE_STEPS):
            await workflow.execute_local_activity(nothing, **BOUND)
        await workflow.execute_child_workflow(
            Nothing.run, id=f"{id_}/p", parent_close_policy=ParentClosePolicy.ABANDON
        )


@workflow.defn(name="NothingMonth")
class NothingMonth:
    """Ends when the invoice has begun."""

    @workflow.run
    async def run(self) -> str:
        id_ = f"{workflow.info().workflow_id}/i"
        for _ in range(MONTH_STEPS):
            await workflow.execute_local_activity(nothing, **BOUND)
        await workflow.start_child_workflow(
            NothingInvoice.run, id=id_, parent_close_policy=ParentClosePolicy.ABANDON
        )
        return id_


def worker(client: Client) -> Worker:
    """All of them, as our own workers run theirs."""
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=[Nothing, NothingInvoice, NothingMonth],
        activities=[nothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=2_000,
        sticky_queue_schedule_to_start_timeout=STICKY,
    )
