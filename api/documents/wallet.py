"""Wallets, their postings and top-ups as callers see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.documents.page import Page
from api.fields import Currency, CustomerId, Document, Id
from domain import points
from domain.payment import PaymentStatus
from domain.top_up import Source


class Balance(Document):
    """What a wallet holds in one currency, in minor units."""

    currency: Currency
    available: Annotated[int, Field(description="Can be spent.")]
    held: Annotated[int, Field(description="Set aside for payments that are not decided yet.")]


class Wallet(Document):
    customer_id: CustomerId
    balances: list[Balance]


Unit = Annotated[
    str,
    Field(
        pattern=f"^([A-Z]{{3}}|{points.UNIT})$",
        description="ISO 4217 currency, or POINT.",
        examples=["KRW"],
    ),
]


class ListedWallet(Document):
    """What a customer holds of one unit. `createdAt`: when something first came into it."""

    customer_id: CustomerId
    unit: Unit
    available: int
    held: int
    created_at: datetime


class Wallets(Page[ListedWallet]):
    """A page of wallets, each as it stands now."""


class WalletPosting(Document):
    """One line of the ledger that touched the wallet; credits are positive."""

    id: int
    kind: Annotated[str, Field(examples=["hold"])]
    account: str
    unit: Annotated[str, Field(description="ISO 4217 currency, or POINT.", examples=["KRW"])]
    amount: int
    reference: Annotated[str, Field(description="The ledger transaction's key.")]
    at: datetime


class WalletPostings(Page[WalletPosting]):
    """A page of postings. New ones stand on the first page."""


class TopUp(Document):
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
