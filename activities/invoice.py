"""What the owner of an invoice does to it: one transaction each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from temporalio import activity

from domain.access import SYSTEM
from domain.audit import Action, Entry, Noun, system
from domain.customer import PaymentMethod
from domain.dead_letter import of_invoice
from domain.decision import decision
from domain.dunning import Ladder
from domain.event import JSON
from domain.failure import HARD_DECLINES, FailureCode
from domain.invoice import (
    OPEN,
    Chargeable,
    ClosedInvoice,
    Closure,
    Invoice,
    InvoiceCharge,
    InvoiceRequest,
    InvoiceStatus,
    Notice,
    OpenedCharge,
    OpenedInvoice,
    dead_letter_event,
    given_up,
    notice_event,
    overdue_event,
    paid_without_payment_event,
)
from domain.ledger import BANK_CLEARING, SALES, transfer
from domain.ledger import Transaction as LedgerTransaction
from domain.payment import (
    FINAL,
    Method,
    PayableType,
    Payment,
    PaymentOutcome,
    PaymentRequest,
    PaymentStatus,
)
from domain.proposal import together
from domain.workflow_id import invoice_workflow_id
from store import audit, change, clock, dead_letter, invoice, ledger, outbox, payment, usage, wallet
from store.database import Database, Transaction

_FAILED = frozenset({PaymentStatus.FAILED, PaymentStatus.CANCELLED})


class InvoiceActivities:
    """Safe to run any number of times."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="invoice.open")
    async def open(self, first: InvoiceCharge) -> OpenedInvoice:
        """Find where an earlier run of the owner stopped; most often there was none, and the first
        payment is made."""
        issued = first.invoice
        async with self._database.begin(SYSTEM) as tx:
            owed = await invoice.lock_to_charge(tx, issued, first.payment_method_id)
            row, payments = owed.invoice, await _payments(tx, owed)
            if row.status not in OPEN:
                return OpenedInvoice(row.status)
            live, ladder = _live(payments), _ladder(issued, row, payments)
            last = _last_failure(row, payments)
            if live is None and last is None:
                opened = await _open(tx, first, payments, owed)
                return OpenedInvoice(row.status, last=opened.failure, payment=opened.payment)
        return OpenedInvoice(
            row.status,
            ladder.step,
            ladder.failed_at,
            last,
            None if live is None else payment.request(live, issued.waits),
        )

    @activity.defn(name="invoice.open_payment")
    async def open_payment(self, charge: InvoiceCharge) -> OpenedCharge:
        """Make the one live payment of the invoice, or find the one that is there."""
        async with self._database.begin(SYSTEM) as tx:
            owed = await invoice.lock_to_charge(tx, charge.invoice, charge.payment_method_id)
            if owed.invoice.status not in OPEN:
                return OpenedCharge()
            payments = await _payments(tx, owed)
            if live := _live(payments):
                return OpenedCharge(payment.request(live, charge.invoice.waits))
            for paid in payments:
                if paid.id == charge.payment_id:
                    return OpenedCharge(failure=_outcome(paid))
            return await _open(tx, charge, payments, owed)

    @activity.defn(name="invoice.payment_outcome")
    async def payment_outcome(self, payment_id: str) -> PaymentOutcome | None:
        """How a payment ended; None while it has not."""
        async with self._database.read(SYSTEM) as tx:
            row = await payment.find(tx, payment_id)
        if row is None or row.status not in FINAL:
            return None
        return _outcome(row)

    @activity.defn(name="invoice.note")
    async def note(self, notice: Notice) -> None:
        """Where the ladder stands; once it is overdue the customer is told, once a step."""
        async with self._database.begin(SYSTEM) as tx:
            row = await invoice.lock(tx, notice.invoice.invoice_id)
            noted = (row.retries, row.next_attempt_at)
            if row.status not in OPEN or noted == (
                notice.step,
                notice.next_attempt_at,
            ):
                return
            await invoice.note_retry(
                tx, notice.invoice.invoice_id, notice.step, notice.next_attempt_at
            )
            if notice.overdue:
                await outbox.append(tx, notice_event(notice))

    @activity.defn(name="invoice.overdue")
    async def overdue(self, issued: InvoiceRequest) -> None:
        """The due date has passed; told once."""
        async with self._database.begin(SYSTEM) as tx:
            if await invoice.mark_overdue(tx, issued.invoice_id):
                await outbox.append(tx, overdue_event(issued))

    @activity.defn(name="invoice.close")
    async def close(self, closed: ClosedInvoice) -> Closure:
        """Paid outside, written off or cancelled, or given up for the time being; never while a
        payment is under way, which would take money that nobody owes any more."""
        issued = closed.invoice
        async with self._database.begin(SYSTEM) as tx:
            row = await invoice.lock(tx, issued.invoice_id)
            if row.status is closed.status or row.status not in OPEN:
                if row.status is InvoiceStatus.UNCOLLECTIBLE:
                    await _come_back(tx, closed)
                return Closure(row.status)
            payments = await payment.of_payable(tx, issued.invoice_id)
            if live := _live(payments):
                return Closure(row.status, payment.request(live, issued.waits))
            if closed.status is InvoiceStatus.UNCOLLECTIBLE:
                await _give_up(tx, given_up(closed, len(payments)), payments)
            else:
                await _close(tx, closed)
            await audit.append(tx, _closing(closed, row.status))
        return Closure(closed.status)


_CLOSED_BY = {
    InvoiceStatus.PAID: Action.INVOICE_PAID_OUTSIDE,
    InvoiceStatus.WRITTEN_OFF: Action.INVOICE_WRITTEN_OFF,
    InvoiceStatus.CANCELLED: Action.INVOICE_CANCELLED,
    InvoiceStatus.UNCOLLECTIBLE: Action.INVOICE_GIVEN_UP,
}


def _closing(closed: ClosedInvoice, before: InvoiceStatus) -> Entry:
    issued = closed.invoice
    nothing_to_pay = closed.status is InvoiceStatus.PAID and not issued.total
    return Entry(
        closed.by or system(invoice_workflow_id(issued.invoice_id)),
        Action.INVOICE_PAID if nothing_to_pay else _CLOSED_BY[closed.status],
        Noun.INVOICE,
        issued.invoice_id,
        issued.customer_id,
        before={"status": before},
        after={"status": closed.status, **together(closed.persons)},
        reason=closed.reason,
    )


def _live(payments: Sequence[Payment]) -> Payment | None:
    """The payment that took the money or still may."""
    return next((paid for paid in payments if paid.status not in _FAILED), None)


def _ladder(issued: InvoiceRequest, row: Invoice, payments: Sequence[Payment]) -> Ladder:
    failures = [paid.updated_at for paid in payments if paid.status in _FAILED]
    return Ladder.noted(
        issued.dunning,
        row.retries,
        row.next_attempt_at,
        last_attempt_at=payments[-1].created_at if payments else None,
        first_failure_at=next(iter(failures), None),
    )


def _last_failure(row: Invoice, payments: Sequence[Payment]) -> PaymentOutcome | None:
    failed = [paid for paid in payments if paid.status in _FAILED]
    if failed:
        return _outcome(failed[-1])
    tried_before = row.next_attempt_at or row.status is InvoiceStatus.UNCOLLECTIBLE
    return _without_card("") if tried_before else None


def _without_card(payment_id: str) -> PaymentOutcome:
    code = FailureCode.PAYMENT_METHOD_MISSING
    return PaymentOutcome(payment_id, PaymentStatus.FAILED, code)


async def _payments(tx: Transaction, owed: Chargeable) -> list[Payment]:
    return await payment.of_payable(tx, owed.invoice.id) if owed.tried else []


async def _open(
    tx: Transaction, charge: InvoiceCharge, payments: Sequence[Payment], owed: Chargeable
) -> OpenedCharge:
    """From the wallet first for prepaid customers, the rest by card. A card that the PG declined
    for good is not charged again."""
    issued, card = charge.invoice, owed.card
    from_wallet = 0
    if owed.prepaid:
        available = await wallet.available(tx, issued.customer_id, issued.currency)
        from_wallet = min(available, issued.total)
    if from_wallet < issued.total:
        if card is None:
            return OpenedCharge(failure=_without_card(charge.payment_id))
        if declined := _declined_for_good(payments, card):
            return OpenedCharge(failure=_outcome(declined))
    request = PaymentRequest(
        payment_id=charge.payment_id,
        payable_type=PayableType.INVOICE,
        payable_id=issued.invoice_id,
        customer_id=issued.customer_id,
        currency=issued.currency,
        wallet_amount=from_wallet,
        card_amount=issued.total - from_wallet,
        gateway=card.gateway if card else "",
        billing_key=card.billing_key if card else "",
        owner=invoice_workflow_id(issued.invoice_id),
        period=issued.period,
        new=True,
        waits=issued.waits,
    )
    made = audit.appending(_made(request))
    await change.make(tx, *payment.creating(request, _method(request)), made)
    return OpenedCharge(request)


def _made(request: PaymentRequest) -> Entry:
    """By the invoice's owner, on its ladder or because somebody asked for it."""
    after: dict[str, JSON] = {
        "payableType": request.payable_type,
        "payableId": request.payable_id,
        "currency": request.currency,
        "walletAmount": request.wallet_amount,
        "cardAmount": request.card_amount,
    }
    who, id_, whose = system(request.owner), request.payment_id, request.customer_id
    return Entry(who, Action.PAYMENT_CREATED, Noun.PAYMENT, id_, whose, after=after)


def _declined_for_good(payments: Sequence[Payment], card: PaymentMethod) -> Payment | None:
    wanted = (card.gateway, card.billing_key)
    return next(
        (
            paid
            for paid in payments
            if (paid.gateway, paid.billing_key) == wanted and paid.gateway_code in HARD_DECLINES
        ),
        None,
    )


def _method(request: PaymentRequest) -> Method:
    if not request.wallet_amount:
        return Method.CARD
    return Method.SPLIT if request.card_amount else Method.WALLET


def _outcome(paid: Payment) -> PaymentOutcome:
    return PaymentOutcome(paid.id, paid.status, paid.failure_code, paid.gateway_code)


async def _close(tx: Transaction, closed: ClosedInvoice) -> None:
    id_ = closed.invoice.invoice_id
    await invoice.close(tx, id_, closed.status, await _decision(tx, closed))
    await dead_letter.resolve(tx, invoice_workflow_id(id_))
    if closed.status is InvoiceStatus.CANCELLED:
        await usage.release(tx, id_)
    if closed.status is InvoiceStatus.PAID:
        await _book_outside(tx, closed.invoice)
        await outbox.append(tx, paid_without_payment_event(closed))


async def _book_outside(tx: Transaction, issued: InvoiceRequest) -> None:
    if issued.total:
        postings = transfer(BANK_CLEARING, SALES, issued.currency, issued.total)
        key = f"invoice/{issued.invoice_id}/paid-outside"
        await ledger.append(tx, LedgerTransaction(key, "paid-outside", postings))


async def _give_up(tx: Transaction, closed: ClosedInvoice, payments: Sequence[Payment]) -> None:
    """A dead letter waits for an operator."""
    id_ = closed.invoice.invoice_id
    await invoice.give_up(tx, id_, await _decision(tx, closed))
    await _bury(tx, closed, payments)


async def _come_back(tx: Transaction, closed: ClosedInvoice) -> None:
    """It was given up before, and an operator had it charged once more: in vain."""
    id_ = closed.invoice.invoice_id
    if not await dead_letter.is_replaying(tx, invoice_workflow_id(id_)):
        return
    payments = await payment.of_payable(tx, id_)
    if _live(payments) is None:
        await _bury(tx, given_up(closed, len(payments)), payments)


async def _bury(tx: Transaction, closed: ClosedInvoice, payments: Sequence[Payment]) -> None:
    event = dead_letter_event(closed, [_attempt(paid) for paid in payments])
    letter = of_invoice(invoice_workflow_id(closed.invoice.invoice_id), closed.reason, event)
    if (letter_id := await dead_letter.bury(tx, letter)) is not None:
        await outbox.append(tx, replace(event, id=letter_id))


async def _decision(tx: Transaction, closed: ClosedInvoice) -> Mapping[str, str]:
    at = await clock.now(tx)
    return decision(at, closed.actor, closed.status, closed.reason, closed.update_id)


def _attempt(paid: Payment) -> JSON:
    """A payment that failed, in our terms and in the PG's."""
    return {
        "paymentId": paid.id,
        "at": paid.created_at.isoformat(),
        "gateway": paid.gateway,
        "failure": paid.failure_code,
        "message": paid.failure_message,
        "gatewayCode": paid.gateway_code,
        "gatewayReference": paid.gateway_reference,
    }
