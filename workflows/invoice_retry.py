"""InvoiceRetry: the one owner of an invoice from ISSUED until it is closed.

Attempt 0 is the first charge. A failure climbs a ladder of durable timers; whatever reaches the
invoice meanwhile (pay now, a new card, paid outside, write-off, cancel) comes as an Update to this
workflow. It ends only when each attempt it began is definitely captured or failed. Ended by hand it
is started again, and goes on where the rows say that the one before it stopped.
"""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.invoice import InvoiceActivities
    from domain.dunning import Ladder
    from domain.failure import HARD_DECLINES, FailureCode
    from domain.invoice import (
        CLOSED,
        CLOSES_AS,
        ClosedInvoice,
        CloseRequest,
        InvoiceCharge,
        InvoiceOutcome,
        InvoiceRequest,
        InvoiceStatus,
        Notice,
        OpenedInvoice,
    )
    from domain.money import format_amount
    from domain.payment import PaymentOutcome, PaymentRequest, PaymentStatus

from workflows import policies, search_attributes, starts
from workflows.payment_saga import PaymentSaga
from workflows.updates import update_id

SYSTEM = "ladder"
"""Who closes an invoice when no person does."""


@workflow.defn(name="InvoiceRetry")
class InvoiceRetry:
    """Charges until it is paid or closed by a person."""

    @workflow.init
    def __init__(self, invoice: InvoiceRequest) -> None:
        self._invoice = invoice
        self._ladder = Ladder(invoice.dunning)
        self._card: str | None = None
        self._charged_card: str | None = None
        self._pay_now = False
        self._charging: str | None = None
        self._overdue = False
        self._closing: CloseRequest | None = None
        self._ended: dict[str, PaymentOutcome] = {}
        self._outcome: InvoiceOutcome | None = None

    @workflow.run
    async def run(self, invoice: InvoiceRequest) -> InvoiceOutcome:
        status = await self._collect()
        self._outcome = InvoiceOutcome(invoice.invoice_id, status)
        self._show(status)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._outcome

    @workflow.signal
    def payment_ended(self, outcome: PaymentOutcome) -> None:
        """A payment of this invoice is final, though its workflow may be open."""
        self._ended[outcome.payment_id] = outcome

    @workflow.update
    async def pay(self, payment_method_id: str | None) -> str:
        """Charge now, with this card if one is named; answers when the charge is under way. One
        with another card ends first: it may still take the money."""
        if payment_method_id in (None, self._card) and await self._is_charging():
            return self._invoice.invoice_id
        self._card = payment_method_id or self._card
        self._pay_now = True
        await workflow.wait_condition(lambda: not self._pay_now or self._outcome is not None)
        return self._invoice.invoice_id

    @workflow.update
    async def close(self, request: CloseRequest) -> InvoiceOutcome:
        """Paid outside, written off or cancelled. A charge that is under way ends first: if it
        takes the money, the invoice is PAID and nothing else."""
        self._closing = self._closing or replace(request, update_id=update_id())
        await workflow.wait_condition(lambda: self._outcome is not None)
        assert self._outcome is not None
        return self._outcome

    async def _is_charging(self) -> bool:
        """The row knows first: whoever has seen there that a charge failed asks for another one."""
        charging = self._charging
        return charging is not None and await self._ended_as(charging) is None

    @pay.validator
    def _payable(self, payment_method_id: str | None) -> None:
        if self._outcome is not None or self._closing is not None:
            raise ApplicationError("The invoice is closed.", type="already-final")

    @close.validator
    def _closable(self, request: CloseRequest) -> None:
        if self._closing is not None:
            how = CLOSES_AS[self._closing.closing]
            raise ApplicationError(f"It is to become {how}.", type="already-decided")
        if self._outcome is not None:
            raise ApplicationError("The invoice is closed.", type="already-final")

    async def _collect(self) -> InvoiceStatus:
        """Charge, climb the ladder, charge again; returns how the invoice is closed."""
        asked = self._closing
        if asked is not None:
            return await self._close_as_asked(asked)
        if not self._invoice.total:
            paid = InvoiceStatus.PAID
            return await self._close(ClosedInvoice(self._invoice, paid, "nothing to pay", SYSTEM))
        opened = await self._open()
        if opened.status in CLOSED:
            return opened.status
        self._ladder = opened.ladder(self._invoice.dunning)
        last = opened.last
        if opened.payment is not None:
            last = await self._end_of(opened.payment)
            self._ladder = self._ladder.after_charge(workflow.now())
        self._forget_useless_card(last)
        while last is None or last.status is not PaymentStatus.COMPLETED:
            await self._reason_to_charge(last)
            if self._closing is not None:
                return await self._close_as_asked(self._closing)
            last = await self._attempt()
            self._ladder = self._ladder.after_charge(workflow.now())
            self._forget_useless_card(last)
        return InvoiceStatus.PAID

    async def _open(self) -> OpenedInvoice:
        """Go on where an earlier run stopped; where there was none, with the first charge."""
        first = self._charge()
        opened = await workflow.execute_local_activity_method(
            InvoiceActivities.open, first, **policies.step(f"collect {self._sum()}")
        )
        begun = opened.payment or opened.last
        if begun is not None and begun.payment_id == first.payment_id:
            self._charged_card = first.payment_method_id
            # Whoever has asked for it meanwhile has it; whoever named another card, not yet.
            self._pay_now = self._pay_now and self._card != self._charged_card
        return opened

    async def _reason_to_charge(self, last: PaymentOutcome | None) -> None:
        """Wait for the next step of the ladder, or for somebody who asks; once the ladder has ended
        only for somebody."""
        if last is None or self._asked:
            return
        self._ladder = self._ladder.after_failure(workflow.now())
        next_at = self._ladder.next_at
        if next_at is None:
            if await self._give_up(last) is InvoiceStatus.UNCOLLECTIBLE:
                await workflow.wait_condition(lambda: self._asked)
            return
        await self._note(last, next_at)
        await self._wait_until(next_at)
        self._ladder = self._ladder.after_wait(workflow.now())

    @property
    def _asked(self) -> bool:
        """Somebody has come, or a payment that another run of ours made has taken the money."""
        paid = any(each.status is PaymentStatus.COMPLETED for each in self._ended.values())
        return self._pay_now or self._closing is not None or paid

    async def _wait_until(self, moment: datetime) -> None:
        """Until then, or until somebody comes; on the way the due date may pass."""
        if not self._overdue and self._invoice.due_at <= moment:
            await self._interrupted(self._invoice.due_at, "due date")
            await self._note_overdue()
        await self._interrupted(moment, f"charge again: step {self._ladder.step + 1}")

    async def _interrupted(self, moment: datetime, summary: str) -> None:
        wait = moment - workflow.now()
        if wait <= timedelta(0):
            return
        try:
            await workflow.wait_condition(
                lambda: self._asked, timeout=wait, timeout_summary=summary
            )
        except TimeoutError:
            return

    async def _note_overdue(self) -> None:
        if self._overdue or workflow.now() < self._invoice.due_at:
            return
        self._overdue = True
        await workflow.execute_local_activity_method(
            InvoiceActivities.overdue, self._invoice, **policies.step("overdue")
        )

    async def _attempt(self) -> PaymentOutcome:
        """One payment, to its definite end."""
        charge = self._charge()
        self._pay_now, self._charging = False, charge.payment_id
        self._charged_card = charge.payment_method_id
        opened = await workflow.execute_local_activity_method(
            InvoiceActivities.open_payment,
            charge,
            **policies.step(f"charge {self._sum()}: attempt {self._ladder.step}"),
        )
        if opened.payment is not None:
            outcome = await self._end_of(opened.payment)
        else:
            paid = PaymentOutcome(charge.payment_id, PaymentStatus.COMPLETED)
            outcome = opened.failure or paid
        self._charging = None
        return outcome

    def _forget_useless_card(self, last: PaymentOutcome | None) -> None:
        """The next charge is the default card's, unless another one has been named since."""
        if last is not None and _useless(last) and self._card == self._charged_card:
            self._card = None

    def _charge(self) -> InvoiceCharge:
        return InvoiceCharge(self._invoice, str(workflow.uuid4()), self._card)

    async def _end_of(self, payment: PaymentRequest) -> PaymentOutcome:
        self._charging = payment.payment_id
        await self._start(payment)
        outcome = await self._definite_end(payment)
        self._charging = None
        return outcome

    async def _start(self, payment: PaymentRequest) -> None:
        """As a new one if it never ran; else it runs already, or is run again."""
        for each in (payment, replace(payment, new=False)) if payment.new else (payment,):
            try:
                child = await workflow.start_child_workflow(
                    PaymentSaga.run, each, **starts.of_payment(each).as_child()
                )
            except FailureError:
                workflow.logger.info("the payment has its owner already")
            else:
                child.add_done_callback(self._learn)
                return

    def _learn(self, child: "asyncio.Task[PaymentOutcome]") -> None:
        """Whoever was terminated tells nothing: another run of it will."""
        if not child.cancelled() and child.exception() is None:
            self.payment_ended(child.result())

    async def _definite_end(self, payment: PaymentRequest) -> PaymentOutcome:
        """It comes with the end of our child, or as a signal; should both be lost, as with a reset,
        the row is asked on a ladder."""
        tries = 0
        while payment.payment_id not in self._ended:
            try:
                await workflow.wait_condition(
                    lambda: payment.payment_id in self._ended,
                    timeout=self._invoice.waits.step(tries + 2),
                    timeout_summary="ask for the payment",
                )
            except TimeoutError:
                ended = await self._ended_as(payment.payment_id)
                if ended is not None:
                    return ended
            tries += 1
        return self._ended[payment.payment_id]

    async def _ended_as(self, payment_id: str) -> PaymentOutcome | None:
        """As its row says; None while it has not ended."""
        return await workflow.execute_local_activity_method(
            InvoiceActivities.payment_outcome,
            payment_id,
            **policies.step("how did the payment end?"),
        )

    async def _note(self, failure: PaymentOutcome, next_at: datetime) -> None:
        await self._note_overdue()
        code = _code(failure)
        notice = Notice(self._invoice, self._ladder.step, code, next_at, self._overdue)
        await workflow.execute_local_activity_method(
            InvoiceActivities.note, notice, **policies.step(f"failed: {code}")
        )

    async def _give_up(self, last: PaymentOutcome) -> InvoiceStatus:
        """An operator gets it; whatever is done about it then comes as an Update."""
        given_up = InvoiceStatus.UNCOLLECTIBLE
        status = await self._close(ClosedInvoice(self._invoice, given_up, _code(last), SYSTEM))
        self._show(status)
        return status

    async def _close_as_asked(self, asked: CloseRequest) -> InvoiceStatus:
        how = CLOSES_AS[asked.closing]
        who = (asked.actor, asked.update_id, asked.by, asked.persons)
        return await self._close(ClosedInvoice(self._invoice, how, asked.reason, *who))

    async def _close(self, closed: ClosedInvoice) -> InvoiceStatus:
        """A payment that is under way all the same ends first."""
        summary = f"{closed.status.lower()} by {closed.actor}: {closed.reason}"
        while True:
            closure = await workflow.execute_local_activity_method(
                InvoiceActivities.close,
                closed,
                **policies.batch_step(summary[:200]),
            )
            if closure.payment is None:
                return closure.status
            await self._end_of(closure.payment)

    def _show(self, outcome: str) -> None:
        workflow.upsert_search_attributes([search_attributes.OUTCOME.value_set(outcome)])

    def _sum(self) -> str:
        return format_amount(self._invoice.total, self._invoice.currency)


def _code(failure: PaymentOutcome | None) -> str:
    if failure is None:
        return ""
    return failure.gateway_code or failure.failure_code or ""


def _useless(outcome: PaymentOutcome) -> bool:
    """The card is unknown or declined for good."""
    missing = outcome.failure_code == FailureCode.PAYMENT_METHOD_MISSING
    return missing or outcome.gateway_code in HARD_DECLINES
