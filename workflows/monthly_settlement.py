"""MonthlySettlement: one per customer × month; closes the month into an invoice. It never charges.

draft (claim the usage, price it, look it over) → approval if needed → issue → start the invoice's
owner

What a step has settled it also notes for the report, in its own transaction.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.settlement import DEADLINE, SettlementActivities
    from domain.approval import DeadlineEffect, Reminder, Verdict
    from domain.money import format_amount
    from domain.settlement import (
        ENDED,
        INSTEAD,
        DecidedDraft,
        Drafted,
        EndedSettlement,
        SettlementOutcome,
        SettlementRequest,
        SettlementStatus,
    )

from workflows import policies, search_attributes, starts
from workflows.invoice_retry import InvoiceRetry
from workflows.updates import update_id

A_MOMENT = timedelta(seconds=1)
"""The database's clock may be a little behind Temporal's."""


@workflow.defn(name="MonthlySettlement")
class MonthlySettlement:
    """The one owner of a customer's month until its invoice is issued."""

    @workflow.init
    def __init__(self, settlement: SettlementRequest) -> None:
        self._settlement = settlement
        self._verdict: Verdict | None = None
        self._awaiting = False
        self._outcome: SettlementOutcome | None = None

    @workflow.run
    async def run(self, settlement: SettlementRequest) -> SettlementOutcome:
        try:
            outcome = await self._settle()
        except (ActivityError, ApplicationError) as error:
            # A local step's refusal comes bare, or wrapped once it was put off by a timer.
            cause = error.cause if isinstance(error, ActivityError) else error
            reason = cause.message if isinstance(cause, ApplicationError) else error.message
            outcome = self._ended(SettlementStatus.FAILED, None, reason)
            await self._record(outcome)
        self._show(outcome.status)
        self._outcome = outcome
        await workflow.wait_condition(workflow.all_handlers_finished)
        if outcome.status is SettlementStatus.FAILED:
            # Failing is what makes it replayable, and visible as failed in the UI.
            raise ApplicationError(
                outcome.reason or "failed", type="settlement-failed", non_retryable=True
            )
        return outcome

    @workflow.update
    async def decide(self, verdict: Verdict) -> SettlementOutcome:
        """A person approves or rejects the draft; answers with how the settlement ended."""
        self._verdict = replace(verdict, update_id=update_id())
        await workflow.wait_condition(lambda: self._outcome is not None)
        assert self._outcome is not None
        return self._outcome

    @decide.validator
    def _decidable(self, verdict: Verdict) -> None:
        if self._verdict is not None:
            decided = f"It was {self._verdict.decision}."
            raise ApplicationError(decided, type="already-decided")
        if not self._awaiting:
            raise ApplicationError("No draft is waiting for approval.", type="not-in-review")

    async def _settle(self) -> SettlementOutcome:
        drafted = await self._draft()
        if drafted.status in ENDED:
            return self._ended(drafted.status, drafted.invoice_id, drafted.reason)
        verdict = None
        if drafted.status is SettlementStatus.AWAITING_APPROVAL:
            verdict = await self._approval(drafted)
            if not verdict.approved and not await self._reject(drafted, verdict):
                return self._ended(SettlementStatus.REJECTED, drafted.invoice_id, verdict.reason)
        # Also what was issued before: whoever did it may have died before its owner began.
        return await self._issue(drafted, verdict)

    async def _draft(self) -> Drafted:
        """Once the month is over by its customer's own clock."""
        while True:
            drafted = await workflow.execute_local_activity_method(
                SettlementActivities.draft,
                self._settlement,
                **policies.batch_step(f"draft {self._settlement.period}"),
            )
            if drafted.not_before is None:
                return drafted
            await self._hand_over(drafted)
            wait = drafted.not_before - workflow.now()
            await workflow.sleep(max(wait, A_MOMENT), summary=drafted.reason)

    async def _approval(self, drafted: Drafted) -> Verdict:
        """Wait for a person: remind, escalate, and at the deadline do what is configured."""
        policy = self._settlement.approval
        self._awaiting = True
        await self._hand_over(drafted)
        since = drafted.waiting_since or workflow.now()
        for name, after in (
            ("reminder", policy.remind_after),
            ("escalation", policy.escalate_after),
            ("deadline", policy.deadline),
        ):
            if await self._decided_by(since + after, name):
                break
            await self._note(drafted, name)
        self._awaiting = False
        if self._verdict is None:
            approved = policy.at_deadline is DeadlineEffect.APPROVE
            self._verdict = Verdict(approved, f"nobody decided in {policy.deadline}", DEADLINE)
        return self._verdict

    async def _decided_by(self, moment: datetime, name: str) -> bool:
        wait = max(moment - workflow.now(), timedelta(0))
        try:
            await workflow.wait_condition(
                lambda: self._verdict is not None, timeout=wait, timeout_summary=name
            )
        except TimeoutError:
            return False
        return True

    async def _note(self, drafted: Drafted, name: str) -> None:
        reminder = Reminder(drafted.invoice_id or "", name, drafted.reason or "")
        await workflow.execute_local_activity_method(
            SettlementActivities.note, reminder, **policies.step(name)
        )

    async def _reject(self, drafted: Drafted, verdict: Verdict) -> bool:
        """True when it was issued before: a workflow task that is done again, because it was lost,
        may meet the decisions in another order, and the row keeps the first."""
        return await workflow.execute_local_activity_method(
            SettlementActivities.reject,
            DecidedDraft(self._settlement, drafted.invoice_id or "", verdict),
            **policies.batch_step(f"rejected by {verdict.actor}: {verdict.reason}"[:200]),
        )

    async def _issue(self, drafted: Drafted, verdict: Verdict | None) -> SettlementOutcome:
        issued = await workflow.execute_local_activity_method(
            SettlementActivities.issue,
            DecidedDraft(self._settlement, drafted.invoice_id or "", verdict),
            **policies.step(f"issue {format_amount(drafted.total, drafted.currency)}"),
        )
        if isinstance(issued, SettlementStatus):
            return self._ended(issued, drafted.invoice_id, INSTEAD[issued])
        try:
            await workflow.start_child_workflow(
                InvoiceRetry.run, issued.invoice, **starts.of_invoice(issued.invoice).as_child()
            )
        except FailureError:
            workflow.logger.info("the invoice has its owner already")
        return self._ended(SettlementStatus.SETTLED, drafted.invoice_id, None)

    def _ended(
        self, status: SettlementStatus, invoice_id: str | None, reason: str | None
    ) -> SettlementOutcome:
        return SettlementOutcome(self._settlement.customer_id, status, invoice_id, reason)

    async def _hand_over(self, drafted: Drafted) -> None:
        """It waits: the run goes on without it."""
        waiting = self._ended(drafted.status, drafted.invoice_id, drafted.reason)
        self._show(waiting.status)
        await self._record(waiting)
        await self._tell_run(waiting)

    async def _record(self, outcome: SettlementOutcome) -> None:
        await workflow.execute_local_activity_method(
            SettlementActivities.record,
            EndedSettlement(self._settlement, outcome.status, outcome.reason, outcome.invoice_id),
            **policies.step(f"{outcome.status.lower()}: {outcome.reason or ''}"[:200]),
        )

    async def _tell_run(self, outcome: SettlementOutcome) -> None:
        """The run, if there is one; how this ends it learns by that."""
        if self._settlement.run is None:
            return
        try:
            run = workflow.get_external_workflow_handle(self._settlement.run)
            await run.signal("settled", outcome)
        except FailureError:
            workflow.logger.info("the run has ended without waiting for this customer")

    def _show(self, status: SettlementStatus) -> None:
        workflow.upsert_search_attributes([search_attributes.OUTCOME.value_set(status)])
