"""A payment's beginning, its marks on the way, and its two ends: one transaction each."""

from collections.abc import Sequence

from temporalio import activity

from activities.funding import STEPS
from domain.access import SYSTEM
from domain.audit import Action, Entry, Noun, system
from domain.errors import AlreadyFinal
from domain.event import JSON, Event
from domain.gateway import SUCCESS, GatewayAnswer, GatewayStatus, Operation
from domain.invoice import InvoiceStatus, paid_event
from domain.order import OrderLine, OrderStatus
from domain.payment import (
    FINAL,
    Capture,
    FailedPayment,
    Marking,
    OpenedPayment,
    PayableType,
    PaymentRequest,
    PaymentStatus,
    capture_transactions,
    completed_events,
    earned_points,
    failed_events,
)
from domain.points import UNIT as POINT
from domain.refund import RefundRequest, late_capture_transaction, of_late_capture
from domain.saga import (
    COUPON_USE,
    GATEWAY_AUTHORIZE,
    INVENTORY_RESERVE,
    ORDER_APPLY_COUPON,
    PAYMENT_COMPLETE,
    PAYMENT_FAIL,
    StepState,
    of_gateway,
)
from domain.workflow_id import invoice_workflow_id, payment_workflow_id
from store import (
    audit,
    change,
    coupon,
    dead_letter,
    gateway_attempt,
    inventory,
    invoice,
    ledger,
    order,
    refund,
    review,
    saga,
    wallet,
    watch,
)
from store import payment as payments
from store.change import Change
from store.database import Database, Transaction


class PaymentActivities:
    """Safe to run any number of times: a status that is final stays."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="payment.open")
    async def open(self, payment: PaymentRequest) -> OpenedPayment:
        """Write the attempt rows before anything is sent, or find that an earlier run did."""
        run_id = activity.info().workflow_run_id or ""
        async with self._database.begin(SYSTEM) as tx:
            row = await payments.find(tx, payment.payment_id)
            if row is None:
                raise RuntimeError(f"payment {payment.payment_id} has no row")
            status = row.status
            cancel_requested = row.cancel_requested_at is not None
            watched = await watch.of(tx, payment.payment_id)
            if not payment.card_amount or (status in FINAL and watched is None):
                return OpenedPayment(status, {}, cancel_requested)
            attempts = {
                operation: await gateway_attempt.open_(
                    tx, payment.gateway_request(operation), run_id
                )
                for operation in payment.operations
            }
            return OpenedPayment(status, attempts, cancel_requested, watched)

    @activity.defn(name="payment.set_aside")
    async def set_aside(self, payment: PaymentRequest) -> bool:
        """All that lies with us, by one statement, with what is told of each step. False where
        anything is not as expected: then nothing is set aside, and each step says for itself why.
        """
        return await change.at_once(self._database, SYSTEM, *_setting_aside(payment))

    @activity.defn(name="payment.mark")
    async def mark(self, marking: Marking) -> None:
        """UNKNOWN or NEEDS_REVIEW: everything stays held, and the reason can be read. Of a payment
        that has ended, only whoever watches its authorization may ask about the void of it."""
        payment = marking.payment
        asked = marking.review()
        order_status = OrderStatus.NEEDS_REVIEW if asked else OrderStatus.PAYING
        async with self._database.begin(SYSTEM) as tx:
            marked = await payments.mark(tx, payment.payment_id, marking.status, marking.reason)
            watched = None if marked else await watch.of(tx, payment.payment_id)
            if asked and (marked or (watched and watched.may_ask(asked.operation))):
                await review.open_(tx, asked)
            if not marked:
                return
            if asked and payment.payable_type is PayableType.ORDER:
                await order.set_status(tx, payment.payable_id, order_status, marking.reason)
            state = StepState.NEEDS_REVIEW if asked else StepState.UNKNOWN
            await saga.record(tx, payment, {marking.step: state}, order_status=order_status)

    @activity.defn(name="payment.complete")
    async def complete(self, capture: Capture) -> None:
        """The money is taken: status, holds, stock, coupon, postings, order and events commit
        together, and the points that the customer earned. Raises `HoldReleased` where an earlier
        run has ended it otherwise, or gave back what it had taken."""
        if not await self.complete_at_once(capture):
            await self.complete_by_steps(capture)

    async def complete_at_once(self, capture: Capture) -> bool:
        """By one statement. False where anything is not as it is for a payment that went well from
        its begin: then nothing is written."""
        payment = capture.payment
        async with self._database.statements(SYSTEM) as tx:
            lines = payment.lines
            if payment.payable_type is PayableType.ORDER and not lines:
                # Who started it again knew its own row only.
                lines = await order.lines(tx, payment.payable_id)
            return await change.tried(tx, *_completion(capture, lines))

    async def complete_by_steps(self, capture: Capture) -> None:
        """By one transaction that looks at everything in turn."""
        payment = capture.payment
        reference = capture.gateway_reference
        earned = earned_points(payment)
        async with self._database.begin(SYSTEM) as tx:
            if not await payments.complete(tx, payment.payment_id, reference, earned):
                return
            await review.supersede(tx, payment.payment_id)
            await _commit_holds(tx, payment)
            for operation in payment.operations:
                answer = GatewayAnswer(SUCCESS[operation], reference=reference)
                await gateway_attempt.close(tx, payment.payment_id, operation, answer)
            lines, more = await _complete_payable(tx, payment, earned)
            if transactions := capture_transactions(payment):
                await ledger.append(tx, *transactions)
            await saga.record(
                tx,
                payment,
                _completed_steps(payment),
                *completed_events(payment, reference, lines),
                *more,
                order_status=OrderStatus.COMPLETED,
            )

    @activity.defn(name="payment.fail")
    async def fail(self, failed: FailedPayment) -> PaymentStatus:
        """Nothing was taken, and every undo has run: the last write of a failed payment.

        A payment that has ended keeps its status, which is returned: this run may be the second one
        of a workflow task that a cancellation interrupted after its end was written.
        """
        payment = failed.payment
        async with self._database.begin(SYSTEM) as tx:
            row = await payments.lock(tx, payment.payment_id)
            if row.status in FINAL:
                return row.status
            await payments.fail(tx, failed)
            await review.supersede(tx, payment.payment_id)
            for operation, answer in failed.answers.items():
                await gateway_attempt.close(tx, payment.payment_id, operation, answer)
            if failed.watch is not None:
                await watch.begin(tx, payment.payment_id, failed.watch)
            if payment.payable_type is PayableType.ORDER:
                await order.set_status(tx, payment.payable_id, OrderStatus.FAILED)
            undone = await _gateway_steps_undone(tx, failed)
            refused = {failed.step: StepState.REFUSED} if failed.step else {}
            await saga.record(
                tx,
                payment,
                {**undone, **refused, PAYMENT_FAIL: StepState.DONE},
                *failed_events(failed),
                order_status=OrderStatus.FAILED,
            )
            return failed.status

    @activity.defn(name="payment.end_watch")
    async def end_watch(self, payment: PaymentRequest) -> None:
        """Nothing can come late any more, or what came is undone."""
        async with self._database.begin(SYSTEM) as tx:
            await review.supersede(tx, payment.payment_id)
            await watch.end(tx, payment.payment_id)

    @activity.defn(name="payment.record_late_capture")
    async def record_late_capture(self, payment: PaymentRequest) -> None:
        """The PG took the money after we had said FAILED: book it in suspense, owe it back. What
        comes late has come: nobody need watch for it any more. Raises `AlreadyFinal` where an
        earlier run has completed the payment meanwhile: then nothing is owed."""
        late = of_late_capture(payment)
        async with self._database.begin(SYSTEM) as tx:
            row = await payments.lock(tx, payment.payment_id)
            if row.status is PaymentStatus.COMPLETED:
                raise AlreadyFinal("The payment has completed: its capture is not late.")
            if not await refund.create(tx, late):
                return
            await payments.give_back(tx, payment.payment_id)
            await watch.end(tx, payment.payment_id)
            answer = GatewayAnswer(GatewayStatus.CAPTURED)
            await gateway_attempt.close(tx, payment.payment_id, payment.pivot, answer)
            await ledger.append(tx, late_capture_transaction(payment))
            await audit.append(tx, _owed_back(payment, late))


def _owed_back(payment: PaymentRequest, late: RefundRequest) -> Entry:
    after: dict[str, JSON] = {
        "paymentId": payment.payment_id,
        "currency": late.currency,
        "cardAmount": late.card_amount,
    }
    who, id_, whose = (
        system(payment_workflow_id(payment.payment_id)),
        late.refund_id,
        late.customer_id,
    )
    why = late.reason
    return Entry(who, Action.REFUND_CREATED, Noun.REFUND, id_, whose, after=after, reason=why)


def _setting_aside(payment: PaymentRequest) -> list[Change]:
    """All that a payment takes before the pivot, in the order of the saga."""
    changes: list[Change] = []
    steps: list[str] = []
    if payment.coupon_code:
        id_, order_id, code = payment.payment_id, payment.payable_id, payment.coupon_code
        changes.append(coupon.using(id_, code, payment.customer_id))
        changes.append(order.applying_coupon(order_id, id_, code, payment.discount))
        steps += [COUPON_USE, ORDER_APPLY_COUPON]
    if payment.stock:
        changes += inventory.reserving(payment.payment_id, payment.stock)
        steps.append(INVENTORY_RESERVE)
    holds = {part.kind: payment.hold(part.kind) for part in payment.ours}
    changes += [STEPS[kind].holding(hold) for kind, hold in holds.items()]
    steps += [STEPS[kind].name for kind in holds]
    if holds:
        changes.append(ledger.appending(*(hold.taken() for hold in holds.values())))
    changes += saga.recording(payment, dict.fromkeys(steps, StepState.DONE))
    return changes


def _completion(capture: Capture, lines: Sequence[OrderLine]) -> list[Change]:
    """All that completes a payment that went well, as parts of a statement."""
    payment, reference = capture.payment, capture.gateway_reference
    earned = earned_points(payment)
    changes = [payments.completing(payment.payment_id, reference, earned)]
    changes += _commit_holds_at_once(payment, earned)
    if references := dict.fromkeys(payment.operations, reference):
        changes.append(gateway_attempt.closing(payment.payment_id, references))
    changes += _complete_payable_at_once(payment)
    if transactions := capture_transactions(payment):
        changes.append(ledger.appending(*transactions))
    more = (_invoice_paid(payment),) if payment.payable_type is PayableType.INVOICE else ()
    changes += saga.recording(
        payment,
        _completed_steps(payment),
        *completed_events(payment, reference, lines),
        *more,
        order_status=OrderStatus.COMPLETED,
    )
    return changes


def _completed_steps(payment: PaymentRequest) -> dict[str, StepState]:
    charged = {of_gateway(operation): StepState.DONE for operation in payment.operations}
    return {**charged, PAYMENT_COMPLETE: StepState.DONE}


async def _commit_holds(tx: Transaction, payment: PaymentRequest) -> None:
    """What was set aside for this payment is now taken for good."""
    if payment.coupon_code:
        await coupon.commit_use(tx, payment.payment_id)
    if payment.stock:
        await inventory.commit(tx, payment.payment_id)
    for part in payment.ours:
        await STEPS[part.kind].take(tx, payment.hold(part.kind))


def _commit_holds_at_once(payment: PaymentRequest, earned: int) -> list[Change]:
    """The same as parts of a statement, and the points that are earned."""
    changes: list[Change] = []
    if payment.coupon_code:
        changes.append(coupon.committing_use(payment.payment_id))
    if payment.stock:
        changes += inventory.committing(payment.payment_id, payment.stock)
    for part in payment.ours:
        more = earned if part.unit == POINT else 0
        changes.append(STEPS[part.kind].taking(payment.hold(part.kind), more))
        earned -= more
    if earned:
        changes.append(wallet.crediting(payment.customer_id, POINT, earned))
    return changes


async def _complete_payable(
    tx: Transaction, payment: PaymentRequest, earned: int
) -> tuple[tuple[OrderLine, ...], tuple[Event, ...]]:
    """What was to be paid is paid: returns an order's lines, and an invoice's event."""
    match payment.payable_type:
        case PayableType.TOP_UP:
            await wallet.credit(tx, payment.customer_id, payment.currency, payment.money)
            return (), ()
        case PayableType.INVOICE:
            return (), await _pay_invoice(tx, payment)
        case PayableType.ORDER:
            if earned:
                await wallet.credit(tx, payment.customer_id, POINT, earned)
            return await order.complete(tx, payment.payable_id), ()


async def _pay_invoice(tx: Transaction, payment: PaymentRequest) -> tuple[Event, ...]:
    if not await invoice.close(tx, payment.payable_id, InvoiceStatus.PAID):
        raise RuntimeError(f"invoice {payment.payable_id} was closed while it was charged")
    await dead_letter.resolve(tx, invoice_workflow_id(payment.payable_id))
    return (_invoice_paid(payment),)


def _complete_payable_at_once(payment: PaymentRequest) -> list[Change]:
    """The same as parts of a statement."""
    match payment.payable_type:
        case PayableType.TOP_UP:
            return [wallet.crediting(payment.customer_id, payment.currency, payment.money)]
        case PayableType.INVOICE:
            return [invoice.paying(payment.payable_id)]
        case PayableType.ORDER:
            return [order.completing(payment.payable_id)]


def _invoice_paid(payment: PaymentRequest) -> Event:
    data: dict[str, JSON] = {
        "invoiceId": payment.payable_id,
        "customerId": payment.customer_id,
        "currency": payment.currency,
        "total": payment.money,
        "paymentId": payment.payment_id,
    }
    return paid_event(payment.payable_id, payment.customer_id, data)


async def _gateway_steps_undone(tx: Transaction, failed: FailedPayment) -> dict[str, StepState]:
    """What was let go, and what was unknown until it was found out that nothing is left of it."""
    open_ = {StepState.UNKNOWN, StepState.NEEDS_REVIEW}
    names = {of_gateway(operation) for operation in failed.payment.operations}
    rows = await saga.of(tx, failed.payment.payment_id)
    undone = {row.step for row in rows if row.step in names and row.state in open_}
    authorized = failed.answers.get(Operation.AUTHORIZE)
    if authorized is not None and authorized.status is GatewayStatus.VOIDED:
        undone.add(GATEWAY_AUTHORIZE)
    return dict.fromkeys(sorted(undone), StepState.UNDONE)
