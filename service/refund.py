"""Refunds: giving back all or a part of what a payment captured."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from domain import refund as rules
from domain.access import Access
from domain.audit import Action, Entry, Noun, actor
from domain.errors import NotFound, NotRefundable
from domain.event import JSON
from domain.funding import Kind, Part, by_kind, worth
from domain.payment import PayableType
from domain.refund import FINAL, Refund, RefundRequest, Wanted
from domain.review import Resolution
from domain.wallet import check_room
from domain.workflow_id import refund_workflow_id
from service import review as reviews
from service.audit import looked_through, viewed
from service.call import Answer, Call, Seen, followed
from service.desk import Desk
from service.owner import told
from service.starts import start_refund
from store import audit, customer, idempotency, payment, refund, wallet
from store.database import Transaction
from store.idempotency import StoredAnswer
from store.identifier import new_id
from store.page import Page, Place


@dataclass(frozen=True)
class NewRefund:
    """What to give back; all that is left without `amount`."""

    payment_id: str
    reason: str
    amount: int | None = None


async def create(desk: Desk, call: Call, wanted: NewRefund) -> Answer[Refund] | StoredAnswer:
    """Refund a payment, and wait shortly for the end. What the PG refuses is an answer."""
    async with desk.database.begin(call.access.scope) as tx:
        claimed = await idempotency.claim(tx, call.claim, new_id())
        if claimed.answer is not None:
            return claimed.answer
        if claimed.repeated:
            request = refund.request(await found(tx, claimed.resource_id), desk.terms.waits)
        else:
            request = await _create(tx, desk, call, claimed.resource_id, wanted)
    begin = partial(start_refund, desk.temporal, request)
    return await followed(
        desk, claimed, begin, partial(_seen, desk, call.access, claimed.resource_id)
    )


async def get(desk: Desk, access: Access, refund_id: str) -> Refund:
    """A refund as it stands; raises `NotFound`."""
    async with desk.database.read(access.scope) as tx:
        row = await found(tx, refund_id)
    await viewed(desk, access, Noun.REFUND, row.id, row.customer_id)
    return row


async def listed(
    desk: Desk, access: Access, wanted: Wanted, place: Place | None, limit: int
) -> Page[Refund]:
    """Those below a place, newest first, each as it stands now."""
    async with desk.database.read(access.scope) as tx:
        found = await refund.listed(tx, wanted, place, limit)
    await looked_through(desk, access, Noun.REFUND, wanted.customer_id)
    return found


async def resolve(
    desk: Desk, call: Call, refund_id: str, resolution: Resolution
) -> Answer[Refund] | StoredAnswer:
    """Answer the question that waits about a refund: has the PG given the money back?"""
    async with desk.database.read(call.access.scope) as tx:
        id_ = (await found(tx, refund_id)).id
    update = await reviews.answering(desk, call, id_, refund_workflow_id(id_), resolution)
    return await told(desk, call, id_, update, lambda _: _seen(desk, call.access, id_))


async def _create(
    tx: Transaction, desk: Desk, call: Call, refund_id: str, wanted: NewRefund
) -> RefundRequest:
    paid = await payment.find_locked(tx, wanted.payment_id)
    if paid is None:
        raise NotFound(f"There is no payment {wanted.payment_id}.")
    if paid.payable_type is PayableType.TOP_UP:
        # Its money is in the wallet: back on the card as well, it would be there twice.
        raise NotRefundable("A top-up is not refunded; its money can be spent from the wallet.")
    if not paid.refundable:
        raise NotRefundable("Nothing of this payment is left to be refunded.")
    amount = wanted.amount or worth(paid.refundable)
    parts = rules.split(paid.refundable, amount, paid.currency)
    await _check_room(tx, paid.customer_id, parts)
    amounts = by_kind(parts)
    request = RefundRequest(
        refund_id=refund_id,
        payment_id=paid.id,
        customer_id=paid.customer_id,
        currency=paid.currency,
        card_amount=amounts[Kind.CARD],
        wallet_amount=amounts[Kind.WALLET],
        points_amount=amounts[Kind.POINTS],
        gateway=paid.gateway,
        reason=wanted.reason,
        origin=call.origin,
        waits=desk.terms.waits,
    )
    await payment.reserve_refund(tx, request)
    await refund.create(tx, request)
    await audit.append(tx, _created(call.access, request))
    return request


def _created(access: Access, request: RefundRequest) -> Entry:
    after: dict[str, JSON] = {
        "paymentId": request.payment_id,
        "currency": request.currency,
        "cardAmount": request.card_amount,
        "walletAmount": request.wallet_amount,
        "pointsAmount": request.points_amount,
    }
    who, id_, whose = actor(access), request.refund_id, request.customer_id
    why = request.reason
    return Entry(who, Action.REFUND_CREATED, Noun.REFUND, id_, whose, after=after, reason=why)


async def _check_room(tx: Transaction, customer_id: str, parts: Iterable[Part]) -> None:
    """What goes back into a wallet must fit: nothing that is under way may get stuck."""
    to_wallet = [part for part in parts if part.in_wallet]
    if to_wallet:
        await customer.lock(tx, customer_id)
    for part in to_wallet:
        expected = await wallet.expected(tx, customer_id, part.unit)
        check_room(expected, part.amount, part.unit)


async def found(tx: Transaction, refund_id: str) -> Refund:
    """The refund; raises `NotFound`."""
    row = await refund.find(tx, refund_id)
    if row is None:
        raise NotFound(f"There is no refund {refund_id}.")
    return row


async def _seen(desk: Desk, access: Access, refund_id: str) -> Seen[Refund]:
    async with desk.database.read(access.scope) as tx:
        row = await found(tx, refund_id)
    return Seen(row, row.status in FINAL)
