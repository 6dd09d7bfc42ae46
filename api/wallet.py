"""The prepaid wallet: balances, postings, and how money gets in."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Replicated, Using
from api.documents.wallet import (
    Balance,
    ListedWallet,
    TopUp,
    Unit,
    Wallet,
    WalletPosting,
    WalletPostings,
    Wallets,
)
from api.fields import CUSTOMER_ID, Amount, Currency, CustomerId, Document, Id, utc
from api.idempotency import answer, cached, keyed
from api.listing import Listing, Paging, page
from domain import points
from domain import wallet as rules
from domain.access import Access
from domain.ledger import BookedPosting
from domain.roles import Action
from domain.top_up import Source
from service import top_up, wallet
from service.call import Answer, Call
from service.top_up import TopUpRecord
from store.idempotency import StoredAnswer

router = APIRouter(tags=["wallet"], route_class=StrictJSONRoute)

LOCATION = "/api/v1/payments/{}"
ForCustomer = Annotated[
    str | None, Query(alias="customerId", pattern=CUSTOMER_ID, description="Default: yourself.")
]


class WalletListing(Listing):
    """By what wallets are found."""

    customer_id: CustomerId | None = None
    unit: Unit | None = None


class PostingListing(Paging):
    """Whose postings."""

    customer_id: Annotated[
        CustomerId | None, Field(description="Whose wallet; yours without it.")
    ] = None


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


@router.get("/api/v1/wallet", response_model=Wallet)
async def get_wallet(
    access: Annotated[Access, may(Action.WALLET_READ)],
    context: Using,
    customer_id: ForCustomer = None,
) -> Wallet:
    """What is available and what is held, per currency."""
    owner = access.named(customer_id)
    balances = [
        Balance(currency=row.currency, available=row.available, held=row.held)
        for row in await wallet.balances(context.desk, access, owner)
        if row.currency != points.UNIT
    ]
    return Wallet(customerId=owner, balances=balances)


@router.get("/api/v1/wallets", response_model=Wallets)
async def list_wallets(
    asked: Annotated[WalletListing, Query()],
    access: Annotated[Access, may(Action.WALLET_READ)],
    context: Replicated,
) -> Wallets:
    """Wallets, one per customer and unit, the newest first."""
    owner = access.whose(asked.customer_id)
    wanted = rules.Wanted(owner, asked.unit, asked.since, asked.until)
    find = partial(wallet.listed, context.desk, access, wanted)
    return await page(context, asked, ("wallets", owner), Wallets, find, _listed)


def _listed(row: rules.Balance) -> ListedWallet:
    return ListedWallet(
        customerId=row.customer_id,
        unit=row.currency,
        available=row.available,
        held=row.held,
        createdAt=utc(row.created_at),
    )


@router.get("/api/v1/wallet/transactions", response_model=WalletPostings)
async def get_wallet_transactions(
    asked: Annotated[PostingListing, Query()],
    access: Annotated[Access, may(Action.WALLET_READ)],
    context: Replicated,
) -> WalletPostings:
    """The postings of one wallet in all its units, newest first."""
    owner = access.named(asked.customer_id)
    find = partial(wallet.transactions, context.desk, access, owner)
    return await page(context, asked, ("postings", owner), WalletPostings, find, _posting)


def _posting(row: BookedPosting) -> WalletPosting:
    return WalletPosting(
        id=row.id,
        kind=row.kind,
        account=row.account,
        unit=row.unit,
        amount=row.amount,
        reference=row.key,
        at=utc(row.created_at),
    )


@router.post(
    "/api/v1/wallet/top-ups",
    status_code=201,
    response_model=TopUp,
    responses={202: {"model": TopUp}},
)
async def create_top_up(
    body: NewTopUp, call: Annotated[Call, keyed(Action.WALLET_TOP_UP)], context: Using
) -> Response:
    """Add money to a wallet. A declined card is an answer: 201 with status FAILED."""
    if (stored := await cached(context, call)) is not None:
        return stored
    wanted = top_up.NewTopUp(
        body.amount,
        body.currency,
        Source(body.source),
        body.payment_method_id,
        body.customer_id,
    )
    created = await top_up.create(context.desk, call, wanted)
    return await answer(context, call, created, _document, _location(created))


def _document(found: TopUpRecord) -> TopUp:
    row, paid = found.top_up, found.payment
    return TopUp(
        id=row.id,
        customerId=row.customer_id,
        currency=row.currency,
        amount=row.amount,
        source=row.source,
        status=found.status,
        failureCode=None if paid is None else paid.failure_code,
        paymentId=None if paid is None else paid.id,
        createdAt=utc(row.created_at),
    )


def _location(created: Answer[TopUpRecord] | StoredAnswer) -> str | None:
    """Of the payment that charges the card."""
    if isinstance(created, StoredAnswer) or created.value.payment is None:
        return None
    return LOCATION.format(created.value.payment.id)
