"""Top-ups: how money gets into a wallet."""

from dataclasses import dataclass
from functools import partial

from domain import roles
from domain.access import Access
from domain.audit import Action, Entry, Noun, actor
from domain.errors import NotFound
from domain.event import JSON
from domain.ledger import BANK_CLEARING, available, transfer
from domain.ledger import Transaction as LedgerTransaction
from domain.money import Money
from domain.payment import (
    FINAL,
    Method,
    PayableType,
    Payment,
    PaymentRequest,
    PaymentStatus,
)
from domain.top_up import Source, TopUp
from domain.wallet import check_room
from service.call import Answer, Call, Seen, followed
from service.desk import Desk
from service.payment import card_of, created
from service.starts import start_payment
from store import audit, customer, idempotency, ledger, payment, top_up, wallet
from store.database import Transaction
from store.idempotency import StoredAnswer
from store.identifier import new_id


@dataclass(frozen=True)
class NewTopUp:
    """Money into the caller's wallet unless another customer is named."""

    amount: int
    currency: str
    source: Source
    payment_method_id: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True)
class TopUpRecord:
    """A top-up with its payment; a bank transfer has none, and is booked."""

    top_up: TopUp
    payment: Payment | None

    @property
    def status(self) -> PaymentStatus:
        """That of its payment."""
        return PaymentStatus.COMPLETED if self.payment is None else self.payment.status


async def create(desk: Desk, call: Call, wanted: NewTopUp) -> Answer[TopUpRecord] | StoredAnswer:
    """Charge a card, or book what the bank has received. A declined card is an answer."""
    if wanted.source is Source.BANK_TRANSFER:
        return await _book(desk, call, wanted)
    async with desk.database.begin(call.access.scope) as tx:
        claimed = await idempotency.claim(tx, call.claim, new_id())
        if claimed.answer is not None:
            return claimed.answer
        if claimed.repeated:
            [paid] = await payment.of_payable(tx, claimed.resource_id)
            request = payment.request(paid, desk.terms.waits)
        else:
            request = await _create(tx, desk, call, claimed.resource_id, wanted)
    begin = partial(start_payment, desk.temporal, request)
    return await followed(
        desk, claimed, begin, partial(_seen, desk, call.access, claimed.resource_id)
    )


async def _book(desk: Desk, call: Call, wanted: NewTopUp) -> Answer[TopUpRecord] | StoredAnswer:
    """What the bank has received; raises `InsufficientRole`."""
    call.access.to(roles.Action.WALLET_BOOK)
    async with desk.database.begin(call.access.scope) as tx:
        claimed = await idempotency.claim(tx, call.claim, new_id())
        if claimed.answer is not None:
            return claimed.answer
        if not claimed.repeated:
            made = await _new(tx, call, claimed.resource_id, wanted)
            await wallet.credit(tx, made.customer_id, made.currency, made.amount)
            await ledger.append(tx, _bank_transfer(made))
            await audit.append(tx, _made(call.access, Action.TOP_UP_BOOKED, made))
        booked = await _record(tx, claimed.resource_id)
    return Answer(claimed.resource_id, booked, True, claimed.repeated)


def _bank_transfer(made: TopUp) -> LedgerTransaction:
    postings = transfer(BANK_CLEARING, available(made.customer_id), made.currency, made.amount)
    return LedgerTransaction(f"top-up/{made.id}", "bank-transfer", postings)


async def _create(
    tx: Transaction, desk: Desk, call: Call, top_up_id: str, wanted: NewTopUp
) -> PaymentRequest:
    made = await _new(tx, call, top_up_id, wanted)
    card = await card_of(tx, made.customer_id, wanted.payment_method_id)
    request = PaymentRequest(
        payment_id=new_id(),
        payable_type=PayableType.TOP_UP,
        payable_id=made.id,
        customer_id=made.customer_id,
        currency=made.currency,
        wallet_amount=0,
        card_amount=made.amount,
        gateway=card.gateway,
        billing_key=card.billing_key,
        new=True,
        origin=call.origin,
        waits=desk.terms.waits,
    )
    await payment.create(tx, request, Method.CARD)
    ours, theirs = _made(call.access, Action.TOP_UP_CREATED, made), created(call.access, request)
    await audit.append(tx, ours, theirs)
    return request


def _made(access: Access, what: Action, made: TopUp) -> Entry:
    after: dict[str, JSON] = {"currency": made.currency, "amount": made.amount}
    return Entry(actor(access), what, Noun.TOP_UP, made.id, made.customer_id, after=after)


async def _new(tx: Transaction, call: Call, top_up_id: str, wanted: NewTopUp) -> TopUp:
    money = Money(wanted.amount, wanted.currency)
    owner = call.access.named(wanted.customer_id)
    if not await customer.lock(tx, owner):
        raise NotFound(f"There is no customer {owner}.")
    check_room(await wallet.expected(tx, owner, money.currency), money.minor_units, money.currency)
    return await top_up.create(
        tx, top_up_id, owner, money.currency, money.minor_units, wanted.source
    )


async def _record(tx: Transaction, top_up_id: str) -> TopUpRecord:
    found = await top_up.find(tx, top_up_id)
    if found is None:
        raise NotFound(f"There is no top-up {top_up_id}.")
    return TopUpRecord(found, next(iter(await payment.of_payable(tx, top_up_id)), None))


async def _seen(desk: Desk, access: Access, top_up_id: str) -> Seen[TopUpRecord]:
    async with desk.database.read(access.scope) as tx:
        seen = await _record(tx, top_up_id)
    return Seen(seen, seen.status in FINAL)
