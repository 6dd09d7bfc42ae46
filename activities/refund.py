"""A refund's beginning, its marks on the way, and its two ends: one transaction each."""

from temporalio import activity

from activities.funding import STEPS
from domain import points
from domain.access import SYSTEM
from domain.failure import FailureCode
from domain.gateway import GatewayAnswer, GatewayStatus, Operation
from domain.refund import (
    FINAL,
    CompletedRefund,
    FailedRefund,
    OpenedRefund,
    RefundMarking,
    RefundRequest,
    RefundStatus,
    completed_event,
    points_taken_back,
    refund_transaction,
)
from store import gateway_attempt, ledger, outbox, payment, review, wallet
from store import refund as refunds
from store.database import Database, Transaction


class RefundActivities:
    """Safe to run any number of times: a status that is final stays."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="refund.open")
    async def open(self, refund: RefundRequest) -> OpenedRefund:
        """Write the attempt row before anything is sent, or find that an earlier run did."""
        async with self._database.begin(SYSTEM) as tx:
            row = await refunds.find(tx, refund.refund_id)
            if row is None:
                raise RuntimeError(f"refund {refund.refund_id} has no row")
            status = row.status
            if status in FINAL or not refund.card_amount:
                return OpenedRefund(status)
            run_id = activity.info().workflow_run_id or ""
            attempt = await gateway_attempt.open_(tx, refund.gateway_refund(), run_id)
            return OpenedRefund(status, attempt)

    @activity.defn(name="refund.mark")
    async def mark(self, marking: RefundMarking) -> None:
        """UNKNOWN or NEEDS_REVIEW: its part of the capture stays reserved."""
        async with self._database.begin(SYSTEM) as tx:
            marked = await refunds.mark(
                tx, marking.refund.refund_id, marking.status, marking.reason
            )
            if marked and (asked := marking.review()) is not None:
                await review.open_(tx, asked)

    @activity.defn(name="refund.complete")
    async def complete(self, completed: CompletedRefund) -> None:
        """The money went back: status, wallet, postings and event commit together."""
        refund = completed.refund
        async with self._database.begin(SYSTEM) as tx:
            if not await refunds.complete(tx, refund.refund_id, completed.gateway_reference):
                row = await refunds.find(tx, refund.refund_id)
                if row is None or row.status is not RefundStatus.COMPLETED:
                    # Money went back after its part was free again: somebody must see that.
                    raise RuntimeError(f"refund {refund.refund_id} is {row and row.status}")
                return
            await review.supersede(tx, refund.refund_id)
            if refund.card_amount:
                answer = GatewayAnswer(GatewayStatus.REFUNDED, completed.gateway_reference)
                await gateway_attempt.close(tx, refund.refund_id, Operation.REFUND, answer)
            for part in refund.ours:
                await STEPS[part.kind].give_back(tx, part)
            await ledger.append(tx, refund_transaction(refund))
            if not refund.late_capture:
                await _take_points_back(tx, refund)
            await outbox.append(tx, completed_event(refund))

    @activity.defn(name="refund.fail")
    async def fail(self, failed: FailedRefund) -> None:
        """The PG gave nothing back: the reserved part can be refunded again."""
        async with self._database.begin(SYSTEM) as tx:
            if not await refunds.fail(tx, failed):
                return
            await review.supersede(tx, failed.refund.refund_id)
            unsent = failed.code == FailureCode.GATEWAY_UNAVAILABLE
            status = GatewayStatus.NOT_SENT if unsent else GatewayStatus.DECLINED
            answer = GatewayAnswer(status, code=failed.gateway_code, message=failed.message)
            refund = failed.refund
            await gateway_attempt.close(tx, refund.refund_id, Operation.REFUND, answer)
            if not refund.late_capture:
                await payment.release_refund(tx, refund)


async def _take_points_back(tx: Transaction, refund: RefundRequest) -> None:
    """Earned points go back in proportion to the refunded money: those that are still there."""
    paid = await payment.add_refunded(tx, refund)
    due = points.to_take_back(
        paid.points_earned, paid.money, paid.money_refunded, paid.points_taken_back
    )
    taken = await wallet.take(tx, refund.customer_id, points.UNIT, due) if due else 0
    if taken:
        await payment.add_taken_back(tx, refund.payment_id, taken)
        await ledger.append(tx, points_taken_back(refund, taken))
