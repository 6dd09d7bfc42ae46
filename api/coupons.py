"""Coupons: set up by operators, claimed by customers, used by orders."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field, model_validator

from api.access import Anybody, Operator
from api.bodies import StrictJSONRoute
from api.context import Using
from api.fields import Amount, CustomerId, Document, Id, Moment, new_id, rendered, utc
from api.idempotency import KeyedRequest, keep, replay, respond
from domain.coupon import WHOLE, Coupon, CouponKind, check_window
from domain.errors import CouponNotIssued, NotFound
from domain.identifier import CURRENCY, NAME
from domain.money import check_currency
from store import clock, coupon, customer, idempotency
from store.database import Transaction
from store.idempotency import StoredAnswer

router = APIRouter(prefix="/api/v1/coupons", tags=["coupons"], route_class=StrictJSONRoute)

CODE = NAME.pattern
CouponCode = Annotated[str, Field(pattern=CODE, examples=["WELCOME-10"])]
PathCode = Annotated[str, Path(pattern=CODE)]
Limit = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Amounts = Annotated[
    dict[Annotated[str, Field(pattern=CURRENCY.pattern)], Amount],
    Field(max_length=50, examples=[{"KRW": 1000}]),
]


class NewCoupon(Document):
    """A percentage (`basisPoints`) or a fixed amount per currency (`amounts`)."""

    kind: Annotated[Literal["PERCENTAGE", "FIXED"], Field(description="Which of the two it is.")]
    basis_points: Annotated[
        int | None, Field(strict=True, ge=1, le=WHOLE, description="1000 is 10 %.")
    ] = None
    amounts: Annotated[Amounts | None, Field(description="For FIXED.")] = None
    minimum_order: Annotated[
        Amounts | None, Field(description="Least sum of an order's lines, per currency.")
    ] = None
    valid_from: Annotated[Moment, Field(description="From then on.")]
    valid_until: Annotated[Moment, Field(description="Up to, but not at that moment.")]
    customer_limit: Annotated[
        Limit | None, Field(description="Uses (and claims) of one customer.")
    ] = None
    total_limit: Annotated[Limit | None, Field(description="Uses of all customers.")] = None
    issue_limit: Annotated[
        Limit | None, Field(description="First come: must be claimed; so many are given out.")
    ] = None

    @model_validator(mode="after")
    def _whole(self) -> "NewCoupon":
        if (self.kind == "PERCENTAGE") != (self.basis_points is not None):
            raise ValueError("basisPoints goes with PERCENTAGE, and only with it")
        if (self.kind == "FIXED") != (self.amounts is not None):
            raise ValueError("amounts goes with FIXED, and only with it")
        if self.valid_from >= self.valid_until:
            raise ValueError("validFrom must be before validUntil")
        return self


class CouponDocument(Document):
    """A coupon with its counts."""

    code: CouponCode
    kind: CouponKind
    basis_points: int | None
    amounts: dict[str, int] | None
    minimum_order: dict[str, int]
    valid_from: datetime
    valid_until: datetime
    customer_limit: int | None
    total_limit: int | None
    issue_limit: int | None
    issued: int
    used: Annotated[int, Field(description="Uses done and in progress.")]


class NewClaim(Document):
    """Who claims it."""

    customer_id: CustomerId | None = None


class Claim(Document):
    """One first-come coupon given to a customer."""

    id: Id
    code: CouponCode
    customer_id: CustomerId
    created_at: datetime


@router.put("/{code}", response_model=CouponDocument, responses={201: {"model": CouponDocument}})
async def put_coupon(
    code: PathCode, body: NewCoupon, access: Operator, context: Using, response: Response
) -> CouponDocument:
    """Make a coupon (201) or change it (200); orders made before keep their discount."""
    for currency in {**(body.amounts or {}), **(body.minimum_order or {})}:
        check_currency(currency)
    async with context.database.begin() as tx:
        made = await coupon.put(tx, _coupon(code, body))
        document = await _document(tx, code)
    response.status_code = 201 if made else 200
    return document


@router.get("/{code}", response_model=CouponDocument)
async def get_coupon(code: PathCode, access: Anybody, context: Using) -> CouponDocument:
    """A coupon with its counts."""
    async with context.reads.connect() as tx:
        return await _document(tx, code)


@router.post("/{code}/claims", status_code=201, response_model=Claim)
async def claim_coupon(
    code: PathCode, keyed: KeyedRequest, context: Using, body: NewClaim | None = None
) -> Response:
    """Get one of the limited coupons, first come, first served."""
    if (stored := await context.replays.get(keyed.claim)) is not None:
        return replay(stored)
    customer_id = (body and body.customer_id) or keyed.access.customer_id
    keyed.access.require(customer_id)
    async with context.database.begin() as tx:
        claimed = await idempotency.claim(tx, keyed.claim, new_id())
        if not claimed.repeated:
            await _issue(tx, code, claimed.resource_id, customer_id)
        answer = claimed.answer or StoredAnswer(201, await _claim(tx, claimed.resource_id))
    answer = await keep(context, keyed.claim, answer)
    return replay(answer) if claimed.repeated else respond(answer)


async def _issue(tx: Transaction, code: str, claim_id: str, customer_id: str) -> None:
    if await customer.find(tx, customer_id) is None:
        raise NotFound(f"There is no customer {customer_id}.")
    issued = await coupon.issue(tx, code, claim_id, customer_id)
    if issued is None:
        raise await _why_not_issued(tx, code)
    check_window(issued, await clock.now(tx))
    limit = issued.customer_limit
    if limit is not None and await coupon.claims(tx, code, customer_id) > limit:
        raise CouponNotIssued(f"{customer_id} has claimed coupon {code} as often as one may.")


async def _why_not_issued(tx: Transaction, code: str) -> Exception:
    found = await coupon.find(tx, code)
    if found is None:
        return NotFound(f"There is no coupon {code}.")
    if found.issue_limit is None:
        return CouponNotIssued(f"Coupon {code} needs no claim: just name it in an order.")
    return CouponNotIssued(f"All coupons {code} are given out.")


def _coupon(code: str, body: NewCoupon) -> Coupon:
    return Coupon(
        code=code,
        kind=CouponKind(body.kind),
        basis_points=body.basis_points or 0,
        amounts=body.amounts or {},
        minimum_order=body.minimum_order or {},
        valid_from=body.valid_from,
        valid_until=body.valid_until,
        customer_limit=body.customer_limit,
        total_limit=body.total_limit,
        issue_limit=body.issue_limit,
    )


async def _document(tx: Transaction, code: str) -> CouponDocument:
    row = await coupon.find(tx, code)
    if row is None:
        raise NotFound(f"There is no coupon {code}.")
    return CouponDocument(
        code=row.code,
        kind=row.kind,
        basisPoints=row.basis_points or None,
        amounts=dict(row.amounts) or None,
        minimumOrder=dict(row.minimum_order),
        validFrom=utc(row.valid_from),
        validUntil=utc(row.valid_until),
        customerLimit=row.customer_limit,
        totalLimit=row.total_limit,
        issueLimit=row.issue_limit,
        issued=row.issued,
        used=row.used,
    )


async def _claim(tx: Transaction, claim_id: str) -> str:
    row = await coupon.claim(tx, claim_id)
    return rendered(
        Claim(id=row.id, code=row.code, customerId=row.customer_id, createdAt=utc(row.created_at))
    )
