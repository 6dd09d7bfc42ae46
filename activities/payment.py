"""A payment's beginning, its marks on the way, and its two ends: one transaction each."""

from temporalio import activity

from domain.gateway import GatewayAnswer, GatewayStatus, Operation
from domain.order import OrderStatus
from domain.payment import (
    FINAL,
    Capture,
    FailedPayment,
    Marking,
    OpenedPayment,
    PayableType,
    PaymentRequest,
    PaymentStatus,
    capture_transaction,
    completed_events,
    failed_events,
)
from domain.refund import late_capture_transaction, of_late_capture
from domain.saga import GATEWAY_CHARGE, PAYMENT_COMPLETE, StepState
from store import gateway_attempt, ledger, order, outbox, refund, saga, wallet
from store import payment as payments
from store.database import Database, Transaction


class PaymentActivities:
    """Safe to run any number of times: a status that is final stays."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="payment.open")
    async def open(self, payment: PaymentRequest) -> OpenedPayment:
        """Write the attempt row before anything is sent, or find that an earlier run did."""
        async with self._database.begin() as tx:
            row = await payments.find(tx, payment.payment_id)
            if row is None:
                raise RuntimeError(f"payment {payment.payment_id} has no row")
            status = PaymentStatus(row.status)
            cancel_requested = row.cancel_requested_at is not None
            if status in FINAL or not payment.card_amount:
                return OpenedPayment(status, None, cancel_requested)
            run_id = activity.info().workflow_run_id or ""
            attempt = await gateway_attempt.open_(tx, payment.charge(), run_id)
            return OpenedPayment(status, attempt, cancel_requested)

    @activity.defn(name="payment.mark")
    async def mark(self, marking: Marking) -> None:
        """UNKNOWN or NEEDS_REVIEW: everything stays held, and the reason can be read."""
        payment = marking.payment
        async with self._database.begin() as tx:
            marked = await payments.mark(tx, payment.payment_id, marking.status, marking.reason)
            if not marked or payment.payable_type is not PayableType.ORDER:
                return
            if marking.status is PaymentStatus.NEEDS_REVIEW:
                review = OrderStatus.NEEDS_REVIEW
                await order.set_status(tx, payment.payable_id, review, marking.reason)

    @activity.defn(name="payment.complete")
    async def complete(self, capture: Capture) -> None:
        """The money is taken: status, hold, postings, order and events commit together."""
        payment = capture.payment
        async with self._database.begin() as tx:
            if not await payments.complete(tx, payment.payment_id, capture.gateway_reference):
                return
            if payment.wallet_amount:
                await wallet.commit_hold(tx, payment)
            if payment.card_amount:
                await _close_charge(tx, payment, capture.gateway_reference)
            await _settle_payable(tx, payment)
            if payment.amount:
                await ledger.append(tx, capture_transaction(payment))
            await saga.record(tx, payment.payment_id, PAYMENT_COMPLETE, StepState.DONE)
            await outbox.append(tx, *completed_events(payment, capture.gateway_reference))

    @activity.defn(name="payment.fail")
    async def fail(self, failed: FailedPayment) -> PaymentStatus:
        """Nothing was taken, and every undo has run: the last write of a failed payment.

        A payment that has ended keeps its status, which is returned: this run may be the second one
        of a workflow task that a cancellation interrupted after its end was written.
        """
        payment = failed.payment
        async with self._database.begin() as tx:
            row = await payments.find(tx, payment.payment_id)
            if row is not None and row.status in FINAL:
                return PaymentStatus(row.status)
            await payments.fail(tx, failed)
            if failed.gateway_code:
                answer = GatewayAnswer(
                    GatewayStatus.DECLINED, code=failed.gateway_code, message=failed.message
                )
                charge = Operation.CHARGE
                await gateway_attempt.close(tx, payment.payment_id, charge, answer)
                await saga.record(tx, payment.payment_id, GATEWAY_CHARGE, StepState.REFUSED)
            if payment.payable_type is PayableType.ORDER:
                await order.set_status(tx, payment.payable_id, OrderStatus.FAILED)
            await outbox.append(tx, *failed_events(failed))
            return failed.status

    @activity.defn(name="payment.record_late_capture")
    async def record_late_capture(self, payment: PaymentRequest) -> None:
        """The PG took the money after we had said FAILED: book it in suspense, owe it back."""
        late = of_late_capture(payment)
        async with self._database.begin() as tx:
            if not await refund.create(tx, late):
                return
            answer = GatewayAnswer(GatewayStatus.CAPTURED)
            await gateway_attempt.close(tx, payment.payment_id, Operation.CHARGE, answer)
            await ledger.append(tx, late_capture_transaction(payment))


async def _close_charge(tx: Transaction, payment: PaymentRequest, reference: str | None) -> None:
    answer = GatewayAnswer(GatewayStatus.CAPTURED, reference=reference)
    await gateway_attempt.close(tx, payment.payment_id, Operation.CHARGE, answer)
    await saga.record(tx, payment.payment_id, GATEWAY_CHARGE, StepState.DONE)


async def _settle_payable(tx: Transaction, payment: PaymentRequest) -> None:
    if payment.payable_type is PayableType.ORDER:
        await order.set_status(tx, payment.payable_id, OrderStatus.COMPLETED)
    else:
        await wallet.credit(tx, payment.customer_id, payment.currency, payment.amount)
