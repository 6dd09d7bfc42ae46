"""Customers and their cards: set-up by operators."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StrictBool

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Replicated, Using
from api.documents.customer import Customer, Customers, DueDays, PaymentMethod, Prepaid, TimeZone
from api.fields import CUSTOMER_ID, CustomerId, Document, Moment, PlanCode, utc
from api.listing import Listing, page
from domain import customer as rules
from domain.access import Access
from domain.roles import Action
from service import customer
from service.customer import CustomerRecord

router = APIRouter(prefix="/api/v1/customers", tags=["customers"], route_class=StrictJSONRoute)

PathCustomer = Annotated[str, Path(alias="customerId", pattern=CUSTOMER_ID)]


class CustomerListing(Listing):
    """By what customers are found."""

    customer_id: CustomerId | None = None


class NewCustomer(Document):
    """How the customer is billed. What is left out stays as it is; a new customer has UTC, no plan,
    pays after issue, within 14 days."""

    time_zone: TimeZone | None = None
    plan_code: PlanCode | None = None
    plan_from: Annotated[
        Moment | None,
        Field(
            description="From when on it has the plan; from now on if left out. A month is billed "
            "by the plan that holds when it begins, else when it ends.",
            examples=["2026-05-01T00:00:00+09:00"],
        ),
    ] = None
    prepaid: Prepaid | None = None
    due_days: DueDays | None = None


class NewCard(Document):
    """A card, as the PG's billing key. We never see the number."""

    billing_key: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9._:-]{1,200}$", examples=["bk_4242424242424242"])
    ]
    last4: Annotated[str, Field(pattern=r"^[0-9]{4}$", examples=["4242"])]
    gateway: Annotated[
        str, Field(pattern=r"^[a-z0-9-]{1,40}$", description="The PG that issued the key.")
    ] = "simulator"
    is_default: Annotated[
        StrictBool, Field(description="Charged when a payment names no card.")
    ] = True


@router.put("/{customerId}", response_model=Customer, responses={201: {"model": Customer}})
async def put_customer(
    customer_id: PathCustomer,
    access: Annotated[Access, may(Action.CUSTOMER_PUT)],
    context: Using,
    response: Response,
    body: NewCustomer | None = None,
) -> Customer:
    """Make a customer (201), or change how it is billed (200). Without a body an existing one stays
    as it is."""
    terms = body or NewCustomer()
    agreed = rules.Agreement(
        terms.time_zone, terms.plan_code, terms.plan_from, terms.prepaid, terms.due_days
    )
    found, made = await customer.put(context.desk, access, customer_id, agreed)
    response.status_code = 201 if made else 200
    return _document(found)


@router.get("", response_model=Customers)
async def list_customers(
    asked: Annotated[CustomerListing, Query()],
    access: Annotated[Access, may(Action.CUSTOMER_READ)],
    context: Replicated,
) -> Customers:
    """Customers, the newest first, and how they are billed now."""
    owner = access.whose(asked.customer_id)
    find = partial(customer.listed, context.desk, access, owner, asked.since, asked.until)
    return await page(context, asked, ("customers", owner), Customers, find, _document)


@router.get("/{customerId}", response_model=Customer)
async def get_customer(
    customer_id: PathCustomer, access: Annotated[Access, may(Action.CUSTOMER_READ)], context: Using
) -> Customer:
    """A customer and how it is billed now."""
    return _document(await customer.get(context.desk, access, customer_id))


def _document(found: CustomerRecord) -> Customer:
    row = found.customer
    return Customer(
        id=row.id,
        timeZone=row.time_zone,
        planCode=found.plan_code,
        prepaid=row.prepaid,
        dueDays=row.due_days,
        createdAt=utc(row.created_at),
    )


@router.post("/{customerId}/payment-methods", status_code=201, response_model=PaymentMethod)
async def add_payment_method(
    customer_id: PathCustomer,
    body: NewCard,
    access: Annotated[Access, may(Action.CARD_ADD)],
    context: Using,
) -> PaymentMethod:
    """Add a card; as the default one it replaces the default before it."""
    card = customer.NewCard(body.gateway, body.billing_key, body.last4, body.is_default)
    return _payment_method(await customer.add_card(context.desk, access, customer_id, card))


@router.get("/{customerId}/payment-methods", response_model=list[PaymentMethod])
async def get_payment_methods(
    customer_id: PathCustomer, access: Annotated[Access, may(Action.CARD_READ)], context: Using
) -> list[PaymentMethod]:
    """The customer's cards, oldest first."""
    cards = await customer.cards(context.desk, access, customer_id)
    return [_payment_method(each) for each in cards]


def _payment_method(row: rules.PaymentMethod) -> PaymentMethod:
    return PaymentMethod(
        id=row.id,
        customerId=row.customer_id,
        gateway=row.gateway,
        last4=row.last4,
        isDefault=row.is_default,
        createdAt=utc(row.created_at),
    )
