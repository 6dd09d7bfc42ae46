"""PaymentSaga: what is cheap to undo comes first, the gateway last, and then only forward.

    coupon.use → order.apply_coupon → inventory.reserve → wallet.hold (→ gateway.authorize)
    → points.deduct → gateway.charge or gateway.capture, the pivot → payment.complete

A step that does not apply to a payment is left out. Those before the gateway are done at once where
everything is as expected; where it is not, each runs for itself, and says for itself what it
refuses. Each is undone for itself. It always ends in one of three ways: COMPLETED whole, FAILED or
CANCELLED without residue.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    WorkflowAlreadyStartedError,
)
from temporalio.types import MethodAsyncSingleParam

with workflow.unsafe.imports_passed_through():
    from activities import funding
    from activities.coupon import CouponActivities
    from activities.inventory import InventoryActivities
    from activities.order import OrderActivities
    from activities.payment import PaymentActivities
    from domain import saga as steps
    from domain.failure import FailureCode, failure_code, gateway_code
    from domain.funding import Kind
    from domain.gateway import SUCCESS, Attempt, GatewayAnswer, GatewayStatus, Operation
    from domain.money import format_amount
    from domain.payment import (
        FINAL,
        Capture,
        FailedPayment,
        Marking,
        OpenedPayment,
        PaymentOutcome,
        PaymentRequest,
        PaymentStatus,
        Watch,
    )
    from domain.refund import of_late_capture
    from domain.review import Question, Resolution

from workflows import policies, search_attributes, starts
from workflows.pursuit import Pursuit
from workflows.refund_saga import RefundSaga
from workflows.saga import Saga, Undo, cancel_requested, to_completion
from workflows.updates import update_id


@workflow.defn(name="PaymentSaga")
class PaymentSaga:
    """The one owner of a payment."""

    @workflow.init
    def __init__(self, payment: PaymentRequest) -> None:
        self._payment = payment
        self._pivot = self._pursuit(payment.pivot)
        self._authorization = self._pursuit(Operation.AUTHORIZE)
        self._void = self._pursuit(Operation.VOID)
        self._step: str | None = None
        self._cancelled_before = False
        self._watch: Watch | None = None
        self._outcome: PaymentOutcome | None = None

    @workflow.run
    async def run(self, payment: PaymentRequest) -> PaymentOutcome:
        status = await to_completion(self._open())
        if status in FINAL:
            # An earlier run ended it, and may have been watching.
            self._outcome = PaymentOutcome(payment.payment_id, status)
        else:
            self._outcome = await self._take()
        await to_completion(self._close(self._outcome))
        return self._outcome

    @workflow.signal
    def gateway_hint(self) -> None:
        """The PG's webhook says that something happened: only a reason to ask."""
        for pursuit in self._pursuits:
            pursuit.hint()

    @workflow.update
    async def resolve(self, resolution: Resolution) -> PaymentOutcome:
        """An operator decides about a payment in review; answers with how it ended."""
        asked = self._asked
        asked.resolve(resolution, update_id())
        await workflow.wait_condition(lambda: self._outcome is not None and not asked.in_review)
        assert self._outcome is not None
        return self._outcome

    @resolve.validator
    def _resolvable(self, resolution: Resolution) -> None:
        self._asked.check(resolution)

    @property
    def _asked(self) -> Pursuit:
        """About what a person is asked; the pivot if about nothing."""
        return next((each for each in self._pursuits if each.in_review), self._pivot)

    async def _take(self) -> PaymentOutcome:
        try:
            async with Saga() as saga:
                self._register_undos(saga)
                await self._set_aside()
                self._heed_cancellation()
                reference = await to_completion(self._collect())
                # The money has moved: from here only forward. What is refused here is refused
                # because an earlier run has undone a step, and perhaps ended the payment.
                return await to_completion(self._complete(reference))
        except (FailureError, asyncio.CancelledError) as error:
            return await to_completion(self._fail(error))

    def _register_undos(self, saga: Saga) -> None:
        """All of them before the first step, whichever this run comes to: an earlier run, or a
        worker that is frozen in this one, may have done any step, and may yet do it. Each undo
        leaves a tombstone for that."""
        payment = self._payment
        # First, so undone last: finding out may take long, the rest need not.
        saga.on_failure(self._undo_gateway)
        if payment.coupon_code:
            code = payment.coupon_code
            saga.on_failure(self._undo(CouponActivities.restore, f"restore coupon {code}"))
            saga.on_failure(self._undo(OrderActivities.remove_coupon, f"take coupon {code} off"))
        if payment.stock:
            saga.on_failure(self._undo(InventoryActivities.restore, f"restore {self._goods}"))
        for part in payment.ours:
            saga.on_failure(self._undo(funding.STEPS[part.kind].undo, f"give back {part}"))

    async def _set_aside(self) -> None:
        """Every step that can be undone without anybody noticing."""
        if not (self._payment.at_once and await self._set_aside_at_once()):
            await self._set_aside_by_steps()

    async def _set_aside_at_once(self) -> bool:
        """False, and nothing set aside, where a step has something to refuse, or is done."""
        self._heed_cancellation()
        return await workflow.execute_local_activity_method(
            PaymentActivities.set_aside,
            self._payment,
            **policies.step(f"set aside {self._all_of_it}"[:200]),
        )

    async def _set_aside_by_steps(self) -> None:
        payment = self._payment
        if payment.coupon_code:
            code = payment.coupon_code
            await self._do(steps.COUPON_USE, CouponActivities.use, f"use coupon {code}")
            what = f"take {self._sum(payment.discount)} off by coupon {code}"
            await self._do(steps.ORDER_APPLY_COUPON, OrderActivities.apply_coupon, what)
        if payment.stock:
            goods = f"reserve {self._goods}"
            await self._do(steps.INVENTORY_RESERVE, InventoryActivities.reserve, goods)
        for part in payment.parts:
            if part.kind is Kind.CARD:
                await self._authorize()
            else:
                step = funding.STEPS[part.kind]
                await self._do(step.name, step.do, f"hold {part}")

    async def _authorize(self) -> None:
        """The card's part is set aside at the PG, where that takes two calls."""
        if self._payment.two_calls:
            self._heed_cancellation()
            await to_completion(self._definite(self._authorization, Operation.AUTHORIZE))

    async def _collect(self) -> str | None:
        """The pivot: charge, or capture what was authorized. Returns the PG's reference."""
        if not self._payment.card_amount:
            return None
        return await self._definite(self._pivot, self._payment.pivot)

    async def _definite(self, pursuit: Pursuit, operation: Operation) -> str | None:
        """Leaves with an error only on a definite refusal, never on an unknown."""
        self._step = steps.of_gateway(operation)
        answer = await pursuit.outcome()
        if answer.status is SUCCESS[operation]:
            return answer.reference
        raise ApplicationError(
            answer.message or "The gateway took nothing.",
            gateway_code(answer),
            type=failure_code(answer),
            non_retryable=True,
        )

    async def _undo_gateway(self) -> None:
        """Find out what may have been sent, in this run or an earlier one, and give it back."""
        if self._pivot.undecided:
            await self._pivot.find_out()
        if self._pivot.succeeded:
            await self._give_back()
            return
        if self._payment.two_calls and self._authorization.undecided:
            await self._authorization.find_out()
        if self._authorization.succeeded:
            await self._let_go()

    async def _let_go(self) -> None:
        """Void the authorization, and give back what was captured meanwhile. What the PG says of
        neither, a person must see to."""
        self._void.begin_undo()
        answer = await self._void.outcome()
        if answer.status is GatewayStatus.REFUSED:
            # Most often because it is not an authorization any more.
            answer = await self._void.find_out()
        if answer.status not in (GatewayStatus.VOIDED, GatewayStatus.CAPTURED):
            answer = await self._void.review(f"The PG did not void it: {answer.message}")
        if answer.status is GatewayStatus.CAPTURED:
            self._pivot.learn(answer)
            await self._give_back()

    async def _open(self) -> PaymentStatus:
        opened = await self._opened()
        for operation, attempt in opened.attempts.items():
            owner = self._authorization if operation is Operation.AUTHORIZE else self._pivot
            owner.begin(attempt)
        self._cancelled_before = opened.cancel_requested
        self._watch = opened.watch
        return opened.status

    async def _opened(self) -> OpenedPayment:
        """Where this run begins: as it was made, if it never ran, or else where its rows stand."""
        if self._payment.new and not _begins_again():
            info = workflow.info()
            attempt = Attempt(info.start_time, resumed=_is_reset())
            attempts = dict.fromkeys(self._payment.operations, attempt)
            cancelled = self._payment.cancel_requested
            return OpenedPayment(PaymentStatus.PENDING, attempts, cancelled)
        return await workflow.execute_local_activity_method(
            PaymentActivities.open,
            self._payment,
            **policies.step(f"open {self._sum(self._payment.money)}"),
        )

    @property
    def _cancelled(self) -> bool:
        return self._cancelled_before or cancel_requested()

    def _heed_cancellation(self) -> None:
        """One of an earlier run counts too: the sweeper starts a run before it cancels it."""
        if self._cancelled:
            raise asyncio.CancelledError

    async def _complete(self, reference: str | None) -> PaymentOutcome:
        payment, self._step = self._payment, None
        await workflow.execute_local_activity_method(
            PaymentActivities.complete,
            Capture(payment, reference),
            **policies.step(f"book {self._sum(payment.money)}, complete {payment.payable_type}"),
        )
        return PaymentOutcome(payment.payment_id, PaymentStatus.COMPLETED)

    async def _fail(self, error: BaseException) -> PaymentOutcome:
        failed = _explain(self._payment, self._step, self._cancelled, error)
        failed = replace(failed, answers=self._answers(), watch=self._to_watch())
        status = await workflow.execute_local_activity_method(
            PaymentActivities.fail,
            failed,
            **policies.step(f"{failed.status.lower()}: {failed.code}"),
        )
        if status is PaymentStatus.COMPLETED:
            return PaymentOutcome(self._payment.payment_id, status)
        self._watch = failed.watch
        return PaymentOutcome(self._payment.payment_id, status, failed.code, failed.gateway_code)

    def _answers(self) -> dict[Operation, GatewayAnswer]:
        answers = {self._payment.pivot: self._pivot.answer}
        if self._payment.two_calls:
            let_go = self._void.succeeded
            answers[Operation.AUTHORIZE] = (self._void if let_go else self._authorization).answer
        return answers if self._payment.card_amount else {}

    def _to_watch(self) -> Watch | None:
        """What the PG did not know may still come; of an authorization that it let go, nothing."""
        if self._authorization.not_found:
            return Watch(Operation.AUTHORIZE, self._authorization.watch_ends_at)
        if self._pivot.not_found and not self._void.confirmed:
            return Watch(self._payment.pivot, self._pivot.watch_ends_at)
        return None

    async def _close(self, outcome: PaymentOutcome) -> None:
        """Tell the owner; watch for a late effect where one is possible; answer every update."""
        await self._tell_owner(outcome)
        if self._watch is not None:
            self._show(search_attributes.WATCHING)
            await self._watch_for(self._watch)
        self._show(outcome.status)
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _watch_for(self, watch: Watch) -> None:
        """Undo what comes late. The watch stands in its row until that is done."""
        if watch.operation is Operation.AUTHORIZE:
            if await self._authorization.watch(watch.until) is not None:
                await self._let_go()
        elif await self._pivot.watch(watch.until) is not None:
            await self._give_back()
        await workflow.execute_local_activity_method(
            PaymentActivities.end_watch, self._payment, **policies.step("the watch is over")
        )

    async def _tell_owner(self, outcome: PaymentOutcome) -> None:
        """An invoice's workflow waits for this; should it be gone, it will ask the row. As our
        parent it learns of it by our end, if that is now."""
        parent = workflow.info().parent
        is_parent = parent is not None and parent.workflow_id == self._payment.owner
        if not self._payment.owner or (is_parent and self._watch is None):
            return
        try:
            owner = workflow.get_external_workflow_handle(self._payment.owner)
            await owner.signal("payment_ended", outcome)
        except FailureError:
            workflow.logger.info("the owner of the payment has ended")

    async def _give_back(self) -> None:
        """The PG took what nobody owes: book it in suspense and refund it."""
        payment = self._payment
        try:
            await workflow.execute_local_activity_method(
                PaymentActivities.record_late_capture,
                payment,
                **policies.step(f"late capture of {self._sum(payment.card_amount)}"),
            )
        except ActivityError:  # its only refusal; faults are retried
            workflow.logger.info("an earlier run has completed the payment meanwhile")
            return
        refund = of_late_capture(payment)
        # Its row is open, so the sweeper or an earlier run may have started it before us.
        with suppress(WorkflowAlreadyStartedError):
            await workflow.start_child_workflow(
                RefundSaga.run, refund, **starts.of_refund(refund).as_child()
            )

    async def _do(
        self, step: str, do: MethodAsyncSingleParam[Any, PaymentRequest, None], summary: str
    ) -> None:
        self._heed_cancellation()
        self._step = step
        await workflow.execute_local_activity_method(do, self._payment, **policies.step(summary))

    def _undo(self, undo: MethodAsyncSingleParam[Any, PaymentRequest, None], summary: str) -> Undo:
        return partial(
            workflow.execute_activity_method, undo, self._payment, **policies.undo(summary)
        )

    async def _mark(
        self, operation: Operation, status: str, reason: str, question: Question | None
    ) -> None:
        self._show(status)
        step = steps.of_gateway(operation)
        marking = Marking(self._payment, PaymentStatus(status), reason, step, operation, question)
        await workflow.execute_local_activity_method(
            PaymentActivities.mark, marking, **policies.step(f"{status}: {reason}"[:200])
        )

    def _pursuit(self, operation: Operation) -> Pursuit:
        payment = self._payment
        request = payment.gateway_request(operation)
        return Pursuit(request, payment.waits, partial(self._mark, operation))

    @property
    def _pursuits(self) -> tuple[Pursuit, ...]:
        return self._pivot, self._authorization, self._void

    def _show(self, outcome: str) -> None:
        workflow.upsert_search_attributes([search_attributes.OUTCOME.value_set(outcome)])

    def _sum(self, amount: int) -> str:
        return format_amount(amount, self._payment.currency)

    @property
    def _all_of_it(self) -> str:
        payment = self._payment
        discount = f"{self._sum(payment.discount)} by coupon {payment.coupon_code}"
        ours = [discount] if payment.coupon_code else []
        ours += [self._goods] if payment.stock else []
        return ", ".join([*ours, *map(str, payment.ours)])

    @property
    def _goods(self) -> str:
        return ", ".join(f"{line.quantity} of {line.sku}" for line in self._payment.stock)[:100]


def _is_reset() -> bool:
    info = workflow.info()
    return info.run_id != info.original_execution_run_id


def _begins_again() -> bool:
    """Whether this run was reset to its very begin. One that was reset to a later moment repeats
    what its history says; so does every run whose worker died. The mark in the history, which only
    a run makes that is not repeating, tells the two apart."""
    return _is_reset() and workflow.patched("reset-to-the-begin")


def _explain(
    payment: PaymentRequest, step: str | None, cancelled: bool, error: BaseException
) -> FailedPayment:
    """Whoever asked for a cancellation gets CANCELLED, unless the payment completed whole."""
    status = PaymentStatus.CANCELLED if cancelled else PaymentStatus.FAILED
    refusal = error.cause if isinstance(error, ActivityError) else error
    if isinstance(refusal, ApplicationError):
        code = refusal.type or FailureCode.ABANDONED
        theirs = next(iter(refusal.details), None)
        return FailedPayment(payment, status, code, refusal.message, theirs, step)
    message = "The payment was cancelled before the charge."
    return FailedPayment(payment, status, FailureCode.CANCELLED, message)
