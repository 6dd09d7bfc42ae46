"""Customers and their cards: set-up by operators."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import Field, StrictBool

from api.access import CUSTOMER_ID, Anybody, Operator
from api.bodies import StrictJSONRoute
from api.context import Using
from api.fields import CustomerId, Document, Id, Moment, PlanCode, new_id, utc
from domain import customer as rules
from domain.errors import InvalidRequest, NotFound
from domain.period import check_zone
from store import clock, customer, pricing
from store.database import Transaction

router = APIRouter(prefix="/api/v1/customers", tags=["customers"], route_class=StrictJSONRoute)

PathCustomer = Annotated[str, Path(alias="customerId", pattern=CUSTOMER_ID)]


TimeZone = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_+/-]{1,64}$",
        description="IANA name of a place, or UTC. Months begin and end by its clock.",
        examples=["Asia/Seoul"],
    ),
]
DueDays = Annotated[
    int, Field(strict=True, ge=0, le=365, description="Days from issue to due date.", examples=[14])
]
Prepaid = Annotated[
    StrictBool, Field(description="Invoices are collected from the wallet first, then by card.")
]


class Customer(Document):
    """A customer and how it is billed."""

    id: CustomerId
    time_zone: TimeZone
    plan_code: Annotated[PlanCode | None, Field(description="The plan that it has now.")]
    prepaid: Prepaid
    due_days: DueDays
    created_at: datetime


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


class NewPaymentMethod(Document):
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


class PaymentMethod(Document):
    id: Id
    customer_id: CustomerId
    gateway: str
    last4: str
    is_default: bool
    created_at: datetime


@router.put("/{customerId}", response_model=Customer, responses={201: {"model": Customer}})
async def put_customer(
    customer_id: PathCustomer,
    access: Operator,
    context: Using,
    response: Response,
    body: NewCustomer | None = None,
) -> Customer:
    """Make a customer (201), or change how it is billed (200). Without a body an existing one stays
    as it is."""
    terms = body or NewCustomer()
    async with context.database.begin() as tx:
        await _check(tx, terms)
        made = await customer.put(tx, customer_id)
        await customer.agree(tx, customer_id, terms.time_zone, terms.prepaid, terms.due_days)
        if terms.plan_code is not None:
            since = terms.plan_from or await clock.now(tx)
            await customer.assign_plan(tx, customer_id, terms.plan_code, since)
        found = await _found(tx, customer_id)
    response.status_code = 201 if made else 200
    return found


@router.get("/{customerId}", response_model=Customer)
async def get_customer(customer_id: PathCustomer, access: Anybody, context: Using) -> Customer:
    """A customer and how it is billed now."""
    access.require(customer_id)
    async with context.reads.connect() as tx:
        return await _found(tx, customer_id)


async def _found(tx: Transaction, customer_id: str) -> Customer:
    row = await customer.find(tx, customer_id)
    if row is None:
        raise NotFound(f"There is no customer {customer_id}.")
    return Customer(
        id=row.id,
        timeZone=row.time_zone,
        planCode=await customer.plan_at(tx, customer_id, await clock.now(tx)),
        prepaid=row.prepaid,
        dueDays=row.due_days,
        createdAt=utc(row.created_at),
    )


async def _check(tx: Transaction, terms: NewCustomer) -> None:
    if terms.time_zone is not None:
        check_zone(terms.time_zone)
    code = terms.plan_code
    if terms.plan_from is not None and code is None:
        raise InvalidRequest("planFrom: names the beginning of a plan, so planCode is needed.")
    if code is not None and not await pricing.offered(tx, code, await clock.now(tx)):
        raise InvalidRequest(f"There is no pricing plan {code}, or it was withdrawn.")


@router.post("/{customerId}/payment-methods", status_code=201, response_model=PaymentMethod)
async def add_payment_method(
    customer_id: PathCustomer, body: NewPaymentMethod, access: Operator, context: Using
) -> PaymentMethod:
    """Add a card; as the default one it replaces the default before it."""
    if body.gateway not in context.gateways:
        raise InvalidRequest(f"There is no gateway {body.gateway!r}.")
    async with context.database.begin() as tx:
        if await customer.find(tx, customer_id) is None:
            raise NotFound(f"There is no customer {customer_id}.")
        row = await customer.add_payment_method(
            tx,
            new_id(),
            customer_id,
            body.gateway,
            body.billing_key,
            body.last4,
            body.is_default,
        )
    return _payment_method(row)


@router.get("/{customerId}/payment-methods", response_model=list[PaymentMethod])
async def get_payment_methods(
    customer_id: PathCustomer, access: Anybody, context: Using
) -> list[PaymentMethod]:
    """The customer's cards, oldest first."""
    access.require(customer_id)
    async with context.reads.connect() as tx:
        await _found(tx, customer_id)
        return [_payment_method(row) for row in await customer.payment_methods_of(tx, customer_id)]


def _payment_method(row: rules.PaymentMethod) -> PaymentMethod:
    return PaymentMethod(
        id=row.id,
        customerId=row.customer_id,
        gateway=row.gateway,
        last4=row.last4,
        isDefault=row.is_default,
        createdAt=utc(row.created_at),
    )
