"""PaymentSaga: hold the wallet part, charge the card part (the pivot), then only forward.

It always ends in one of three ways: COMPLETED whole, FAILED or CANCELLED without residue.
"""

import asyncio
from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    WorkflowAlreadyStartedError,
)

with workflow.unsafe.imports_passed_through():
    from activities.payment import PaymentActivities
    from activities.wallet import WalletActivities
    from domain.failure import FailureCode, failure_code, gateway_code
    from domain.gateway import GatewayStatus
    from domain.money import format_amount
    from domain.payment import (
        FINAL,
        Capture,
        FailedPayment,
        Marking,
        PaymentOutcome,
        PaymentRequest,
        PaymentStatus,
    )
    from domain.refund import of_late_capture
    from domain.review import Resolution

from workflows import policies, search_attributes
from workflows.pursuit import Pursuit
from workflows.refund_saga import RefundSaga, refund_workflow_id
from workflows.saga import Saga, cancel_requested, to_completion


def payment_workflow_id(payment_id: str) -> str:
    return f"payment/{payment_id}"


@workflow.defn(name="PaymentSaga")
class PaymentSaga:
    """The one owner of a payment."""

    @workflow.init
    def __init__(self, payment: PaymentRequest) -> None:
        self._payment = payment
        self._charge = Pursuit(payment.charge(), payment.waits, self._mark)
        self._cancelled_before = False
        self._outcome: PaymentOutcome | None = None

    @workflow.run
    async def run(self, payment: PaymentRequest) -> PaymentOutcome:
        opened = await to_completion(self._open())
        if opened in FINAL:
            self._outcome = PaymentOutcome(payment.payment_id, opened)
        else:
            self._outcome = await self._take()
        await to_completion(self._close(self._outcome))
        return self._outcome

    @workflow.signal
    def gateway_hint(self) -> None:
        """The PG's webhook says that something happened: only a reason to ask."""
        self._charge.hint()

    @workflow.update
    async def resolve(self, resolution: Resolution) -> PaymentOutcome:
        """An operator decides about a payment in review; answers with how it ended."""
        self._charge.resolve(resolution)
        await workflow.wait_condition(lambda: self._outcome is not None)
        assert self._outcome is not None
        return self._outcome

    @resolve.validator
    def _resolvable(self, resolution: Resolution) -> None:
        if not self._charge.in_review:
            raise ApplicationError("Nothing is waiting for a decision.", type="not-in-review")

    async def _take(self) -> PaymentOutcome:
        payment = self._payment
        try:
            async with Saga() as saga:
                # Registered first, so undone last: finding out may take long, the rest need not.
                saga.on_failure(self._undo_charge)
                if payment.wallet_amount:
                    saga.on_failure(self._release)
                    self._heed_cancellation()
                    await self._hold()
                self._heed_cancellation()
                reference = await to_completion(self._pivot()) if payment.card_amount else None
        except (FailureError, asyncio.CancelledError) as error:
            return await to_completion(self._fail(error))
        # The money has moved: from here only forward.
        return await to_completion(self._complete(reference))

    async def _open(self) -> PaymentStatus:
        opened = await workflow.execute_local_activity_method(
            PaymentActivities.open,
            self._payment,
            **policies.step(f"open {self._sum(self._payment.amount)}"),
        )
        if opened.attempt is not None:
            self._charge.begin(opened.attempt)
        self._cancelled_before = opened.cancel_requested
        return opened.status

    @property
    def _cancelled(self) -> bool:
        return self._cancelled_before or cancel_requested()

    def _heed_cancellation(self) -> None:
        """One of an earlier run counts too: the sweeper starts a run before it cancels it."""
        if self._cancelled:
            raise asyncio.CancelledError

    async def _hold(self) -> None:
        amount = self._sum(self._payment.wallet_amount)
        await workflow.execute_local_activity_method(
            WalletActivities.hold,
            self._payment,
            **policies.step(f"hold {amount} of wallet {self._payment.customer_id}"),
        )

    async def _release(self) -> None:
        amount = self._sum(self._payment.wallet_amount)
        await workflow.execute_activity_method(
            WalletActivities.release,
            self._payment,
            **policies.undo(f"release {amount} to wallet {self._payment.customer_id}"),
        )

    async def _pivot(self) -> str | None:
        """Charge. Leaves with an error only on a definite refusal, never on an unknown."""
        answer = await self._charge.outcome()
        if answer.status is GatewayStatus.CAPTURED:
            return answer.reference
        raise ApplicationError(
            answer.message or "The gateway took nothing.",
            gateway_code(answer),
            type=failure_code(answer).value,
            non_retryable=True,
        )

    async def _undo_charge(self) -> None:
        """Find out what an earlier run may have sent, and give it back."""
        if not self._charge.undecided:
            return
        answer = await self._charge.find_out()
        if answer.status is GatewayStatus.CAPTURED:
            await self._give_back()

    async def _complete(self, reference: str | None) -> PaymentOutcome:
        payment = self._payment
        await workflow.execute_local_activity_method(
            PaymentActivities.complete,
            Capture(payment, reference),
            **policies.step(f"book {self._sum(payment.amount)}, complete {payment.payable_type}"),
        )
        return PaymentOutcome(payment.payment_id, PaymentStatus.COMPLETED)

    async def _fail(self, error: BaseException) -> PaymentOutcome:
        failed = _explain(self._payment, self._cancelled, error)
        status = await workflow.execute_local_activity_method(
            PaymentActivities.fail,
            failed,
            **policies.step(f"{failed.status.lower()}: {failed.code}"),
        )
        code = None if status is PaymentStatus.COMPLETED else failed.code
        return PaymentOutcome(self._payment.payment_id, status, code)

    async def _close(self, outcome: PaymentOutcome) -> None:
        """Watch for a late capture where one is possible; let every update get its answer."""
        if self._charge.not_found:
            self._show(search_attributes.WATCHING)
            if await self._charge.watch() is not None:
                await self._give_back()
        self._show(outcome.status)
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _give_back(self) -> None:
        """The PG took what nobody owes: book it in suspense and refund it."""
        payment = self._payment
        await workflow.execute_local_activity_method(
            PaymentActivities.record_late_capture,
            payment,
            **policies.step(f"late capture of {self._sum(payment.card_amount)}"),
        )
        refund = of_late_capture(payment)
        # Its row is open, so the sweeper or an earlier run may have started it before us.
        with suppress(WorkflowAlreadyStartedError):
            await workflow.start_child_workflow(
                RefundSaga.run,
                refund,
                id=refund_workflow_id(refund.refund_id),
                task_timeout=policies.TASK_TIMEOUT,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                static_summary=f"give back {self._sum(refund.card_amount)} captured late",
            )

    async def _mark(self, status: str, reason: str) -> None:
        self._show(status)
        await workflow.execute_local_activity_method(
            PaymentActivities.mark,
            Marking(self._payment, PaymentStatus(status), reason),
            **policies.step(f"{status}: {reason}"[:200]),
        )

    def _show(self, outcome: str) -> None:
        workflow.upsert_search_attributes([search_attributes.OUTCOME.value_set(outcome)])

    def _sum(self, amount: int) -> str:
        return format_amount(amount, self._payment.currency)


def _explain(payment: PaymentRequest, cancelled: bool, error: BaseException) -> FailedPayment:
    """Whoever asked for a cancellation gets CANCELLED, unless the payment completed whole."""
    status = PaymentStatus.CANCELLED if cancelled else PaymentStatus.FAILED
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError):
        gateway_code = cause.details[0] if cause.details else None
        code = cause.type or FailureCode.ABANDONED
        return FailedPayment(payment, status, code, cause.message, gateway_code)
    return FailedPayment(
        payment, status, FailureCode.CANCELLED, "The payment was cancelled before the charge."
    )
