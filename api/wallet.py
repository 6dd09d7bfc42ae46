"""The prepaid wallet: balances, postings, and how money gets in."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api import cursors, payments
from api.access import CUSTOMER_ID, Access, Anybody, Role
from api.bodies import StrictJSONRoute
from api.context import Context, Using
from api.cursors import MAX_LENGTH, Descent
from api.fields import Amount, Currency, CustomerId, Document, Id, new_id, rendered, utc
from api.idempotency import Keyed, KeyedRequest, View, keep, replay, respond, settle
from domain import points
from domain.errors import NotFound
from domain.ledger import BANK_CLEARING, BookedPosting, available, transfer
from domain.ledger import Transaction as LedgerTransaction
from domain.money import Money
from domain.payment import FINAL, Method, PayableType, PaymentRequest, PaymentStatus
from domain.top_up import Source, TopUp
from domain.wallet import check_room
from service.starts import start_payment
from store import customer, idempotency, ledger, payment, top_up, wallet
from store.database import Transaction
from store.idempotency import StoredAnswer
from store.seen import seen

router = APIRouter(prefix="/api/v1/wallet", tags=["wallet"], route_class=StrictJSONRoute)

LOCATION = "/api/v1/payments/{}"
ForCustomer = Annotated[
    str | None, Query(alias="customerId", pattern=CUSTOMER_ID, description="Default: yourself.")
]


class Balance(Document):
    """What a wallet holds in one currency, in minor units."""

    currency: Currency
    available: Annotated[int, Field(description="Can be spent.")]
    held: Annotated[int, Field(description="Set aside for payments that are not decided yet.")]


class Wallet(Document):
    customer_id: CustomerId
    balances: list[Balance]


class WalletPosting(Document):
    """One line of the ledger that touched the wallet; credits are positive."""

    id: int
    kind: Annotated[str, Field(examples=["hold"])]
    account: str
    unit: Annotated[str, Field(description="ISO 4217 currency, or POINT.", examples=["KRW"])]
    amount: int
    reference: Annotated[str, Field(description="The ledger transaction's key.")]
    at: datetime


class WalletPostings(Document):
    """Newest first. `next` goes into `before` for the page after this one; None at the end."""

    items: list[WalletPosting]
    next: str | None


class NewTopUp(Document):
    """Money into the wallet, by card or (operators only) seen on the bank account."""

    amount: Amount
    currency: Currency
    source: Annotated[
        Literal["CARD", "BANK_TRANSFER"],
        Field(description="Charge a card, or book (operators only) what the bank has received."),
    ] = "CARD"
    payment_method_id: Annotated[
        Id | None, Field(description="Which card; the customer's default one without it.")
    ] = None
    customer_id: Annotated[
        CustomerId | None, Field(description="Whose wallet; the caller's without it.")
    ] = None


class TopUpDocument(Document):
    """A top-up. `status` is that of its payment; a bank transfer is COMPLETED at once."""

    id: Id
    customer_id: CustomerId
    currency: Currency
    amount: int
    source: Source
    status: PaymentStatus
    failure_code: str | None
    payment_id: Id | None
    created_at: datetime


@router.get("", response_model=Wallet)
async def get_wallet(access: Anybody, context: Using, customer_id: ForCustomer = None) -> Wallet:
    """What is available and what is held, per currency."""
    owner = _owner(access, customer_id)
    async with context.reads.connect() as tx:
        rows = await wallet.balances(tx, owner)
    balances = [
        Balance(currency=row.currency, available=row.available, held=row.held)
        for row in rows
        if row.currency != points.UNIT
    ]
    return Wallet(customerId=owner, balances=balances)


@router.get("/transactions", response_model=WalletPostings)
async def get_wallet_transactions(
    access: Anybody,
    context: Using,
    customer_id: ForCustomer = None,
    before: Annotated[
        str | None, Query(max_length=MAX_LENGTH, description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> WalletPostings:
    """The postings of a wallet, newest first. New ones stand on the first page; one that committed
    only after its place was passed comes with the page that follows, beyond `limit`."""
    owner = _owner(access, customer_id)
    secret = context.settings.cursor_secret.get_secret_value()
    filters: dict[str, str | None] = {"customerId": owner}
    place = None if before is None else cursors.decode(secret, before, filters, Descent)
    async with context.reads.connect() as tx:
        rows, last = await _page(tx, owner, place, limit)
    items = [
        WalletPosting(
            id=row.id,
            kind=row.kind,
            account=row.account,
            unit=row.unit,
            amount=row.amount,
            reference=row.key,
            at=utc(row.created_at),
        )
        for row in rows
    ]
    following = None if last is None else cursors.encode(secret, last, filters)
    return WalletPostings(items=items, next=following)


async def _page(
    tx: Transaction, owner: str, place: Descent | None, limit: int
) -> tuple[list[BookedPosting], Descent | None]:
    """The rows below a place, with what came late above it, and the place below them; None at the
    end."""
    if place is None:
        late: Sequence[BookedPosting] = ()
        rows = await wallet.transactions(tx, owner, None, limit)
    else:
        late = await wallet.came_late(tx, owner, place.newest, place.last, place.seen)
        rows = await wallet.transactions(tx, owner, place.last, limit)
    if len(rows) < limit:
        return [*late, *rows], None
    newest = rows[0].id if place is None else place.newest
    return [*late, *rows], Descent(newest, rows[-1].id, await seen(tx))


@router.post(
    "/top-ups",
    status_code=201,
    response_model=TopUpDocument,
    responses={202: {"model": TopUpDocument}},
)
async def create_top_up(body: NewTopUp, keyed: KeyedRequest, context: Using) -> Response:
    """Add money to a wallet. A declined card is an answer: 201 with status FAILED."""
    if (stored := await context.replays.get(keyed.claim)) is not None:
        return replay(stored)
    if body.source == "BANK_TRANSFER":
        return await _book_bank_transfer(body, keyed, context)
    async with context.database.begin() as tx:
        claimed = await idempotency.claim(tx, keyed.claim, new_id())
        if claimed.answer is not None:
            return replay(claimed.answer)
        if claimed.repeated:
            [paid] = await payment.of_payable(tx, claimed.resource_id)
            request = payment.request(paid, context.terms.waits)
        else:
            request = await _create(tx, claimed.resource_id, body, keyed, context)
    return await settle(
        context,
        keyed,
        claimed,
        begin=partial(start_payment, context.temporal, request),
        view=partial(_view, context, claimed.resource_id),
        location=LOCATION.format(request.payment_id),
    )


def _owner(access: Access, customer_id: str | None) -> str:
    owner = customer_id or access.customer_id
    access.require(owner)
    return owner


async def _new(tx: Transaction, top_up_id: str, body: NewTopUp, keyed: Keyed) -> TopUp:
    money = Money(body.amount, body.currency)
    owner = _owner(keyed.access, body.customer_id)
    if not await customer.lock(tx, owner):
        raise NotFound(f"There is no customer {owner}.")
    check_room(await wallet.expected(tx, owner, money.currency), money.minor_units, money.currency)
    source = Source(body.source)
    return await top_up.create(tx, top_up_id, owner, money.currency, money.minor_units, source)


async def _create(
    tx: Transaction, top_up_id: str, body: NewTopUp, keyed: Keyed, context: Context
) -> PaymentRequest:
    made = await _new(tx, top_up_id, body, keyed)
    card = await payments.card_of(tx, made.customer_id, body.payment_method_id)
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
        origin=keyed.origin,
        waits=context.terms.waits,
    )
    await payment.create(tx, request, Method.CARD)
    return request


async def _book_bank_transfer(body: NewTopUp, keyed: Keyed, context: Context) -> Response:
    if Role.OPERATOR not in keyed.access.roles:
        raise NotFound("There is no such thing.")
    async with context.database.begin() as tx:
        claimed = await idempotency.claim(tx, keyed.claim, new_id())
        if not claimed.repeated:
            made = await _new(tx, claimed.resource_id, body, keyed)
            await wallet.credit(tx, made.customer_id, made.currency, made.amount)
            await ledger.append(tx, _bank_transfer(made))
        text = rendered(await _document(tx, claimed.resource_id))
    answer = await keep(context, keyed.claim, claimed.answer or StoredAnswer(201, text))
    return replay(answer) if claimed.repeated else respond(answer)


def _bank_transfer(made: TopUp) -> LedgerTransaction:
    postings = transfer(BANK_CLEARING, available(made.customer_id), made.currency, made.amount)
    return LedgerTransaction(f"top-up/{made.id}", "bank-transfer", postings)


async def _view(context: Context, top_up_id: str) -> View:
    async with context.reads.connect() as tx:
        seen = await _document(tx, top_up_id)
    return View(seen.status in FINAL, rendered(seen))


async def _document(tx: Transaction, top_up_id: str) -> TopUpDocument:
    row = await top_up.find(tx, top_up_id)
    if row is None:
        raise NotFound(f"There is no top-up {top_up_id}.")
    paid = next(iter(await payment.of_payable(tx, top_up_id)), None)
    return TopUpDocument(
        id=row.id,
        customerId=row.customer_id,
        currency=row.currency,
        amount=row.amount,
        source=row.source,
        status=PaymentStatus.COMPLETED if paid is None else paid.status,
        failureCode=None if paid is None else paid.failure_code,
        paymentId=None if paid is None else paid.id,
        createdAt=utc(row.created_at),
    )
