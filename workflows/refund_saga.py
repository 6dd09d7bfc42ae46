"""RefundSaga: give back the card part through the PG, then the wallet part. Only forward.

It ends COMPLETED, or FAILED on a definite no of the PG; what cannot be known waits for a person.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.refund import RefundActivities
    from domain.failure import failure_code, gateway_code
    from domain.gateway import GatewayAnswer, GatewayStatus
    from domain.money import format_amount
    from domain.refund import (
        FINAL,
        CompletedRefund,
        FailedRefund,
        RefundMarking,
        RefundOutcome,
        RefundRequest,
        RefundStatus,
    )
    from domain.review import Question, Resolution

from workflows import policies, search_attributes
from workflows.pursuit import Pursuit
from workflows.saga import to_completion
from workflows.updates import update_id


@workflow.defn(name="RefundSaga")
class RefundSaga:
    """The one owner of a refund."""

    @workflow.init
    def __init__(self, refund: RefundRequest) -> None:
        self._refund = refund
        self._call = Pursuit(refund.gateway_refund(), refund.waits, self._mark, refund.question)
        self._outcome: RefundOutcome | None = None

    @workflow.run
    async def run(self, refund: RefundRequest) -> RefundOutcome:
        # A refund once begun is not cancelled: half of it could be with the PG already.
        self._outcome = await to_completion(self._give_back())
        await to_completion(self._close(self._outcome))
        return self._outcome

    @workflow.signal
    def gateway_hint(self) -> None:
        """The PG's webhook says that something happened: only a reason to ask."""
        self._call.hint()

    @workflow.update
    async def resolve(self, resolution: Resolution) -> RefundOutcome:
        """An operator decides about a refund in review; answers with how it ended."""
        self._call.resolve(resolution, update_id())
        await workflow.wait_condition(lambda: self._outcome is not None)
        assert self._outcome is not None
        return self._outcome

    @resolve.validator
    def _resolvable(self, resolution: Resolution) -> None:
        self._call.check(resolution)

    async def _give_back(self) -> RefundOutcome:
        status = await self._open()
        if status in FINAL:
            return RefundOutcome(self._refund.refund_id, status)
        if not self._refund.card_amount:
            return await self._complete(None)
        answer = await self._pursue()
        if answer.status is GatewayStatus.REFUNDED:
            return await self._complete(answer.reference)
        return await self._fail(answer)

    async def _pursue(self) -> GatewayAnswer:
        """REFUNDED, or a definite no. "Not found" is none: a late effect would go unseen."""
        answer = await self._call.outcome()
        if self._call.decided:
            return answer
        if answer.status is GatewayStatus.NOT_FOUND:
            return await self._call.review("The gateway does not know the refund that we sent.")
        if self._refund.late_capture and answer.status is not GatewayStatus.REFUNDED:
            return await self._call.review(f"The gateway keeps a late capture: {answer.message}")
        return answer

    async def _open(self) -> RefundStatus:
        opened = await workflow.execute_local_activity_method(
            RefundActivities.open,
            self._refund,
            **policies.step(f"open the refund of {self._sum()}"),
        )
        if opened.attempt is not None:
            self._call.begin(opened.attempt)
        return opened.status

    async def _complete(self, reference: str | None) -> RefundOutcome:
        await workflow.execute_local_activity_method(
            RefundActivities.complete,
            CompletedRefund(self._refund, reference),
            **policies.step(f"book the refund of {self._sum()}"),
        )
        return RefundOutcome(self._refund.refund_id, RefundStatus.COMPLETED)

    async def _fail(self, answer: GatewayAnswer) -> RefundOutcome:
        code = failure_code(answer)
        message = answer.message or "The gateway gave nothing back."
        await workflow.execute_local_activity_method(
            RefundActivities.fail,
            FailedRefund(self._refund, code, message, gateway_code(answer)),
            **policies.step(f"failed: {code}"),
        )
        return RefundOutcome(self._refund.refund_id, RefundStatus.FAILED, code)

    async def _close(self, outcome: RefundOutcome) -> None:
        self._show(outcome.status)
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _mark(self, status: str, reason: str, question: Question | None) -> None:
        self._show(status)
        await workflow.execute_local_activity_method(
            RefundActivities.mark,
            RefundMarking(self._refund, RefundStatus(status), reason, question),
            **policies.step(f"{status}: {reason}"[:200]),
        )

    def _show(self, outcome: str) -> None:
        workflow.upsert_search_attributes([search_attributes.OUTCOME.value_set(outcome)])

    def _sum(self) -> str:
        return format_amount(self._refund.worth, self._refund.currency)
