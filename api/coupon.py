"""Coupons: set up by operators, claimed by customers, used by orders."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, model_validator

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Replicated, Using
from api.documents.coupon import CODE, Coupon, CouponClaim, Coupons
from api.fields import Amount, CustomerId, Document, Moment, utc
from api.idempotency import answer, cached, keyed
from api.listing import Listing, page
from domain import coupon as rules
from domain.access import Access
from domain.coupon import WHOLE, CouponKind
from domain.identifier import CURRENCY
from domain.roles import Action
from service import coupon
from service.call import Call

router = APIRouter(prefix="/api/v1/coupons", tags=["coupons"], route_class=StrictJSONRoute)

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


class NewClaim(Document):
    """Who claims it."""

    customer_id: CustomerId | None = None


@router.put("/{code}", response_model=Coupon, responses={201: {"model": Coupon}})
async def put_coupon(
    code: PathCode,
    body: NewCoupon,
    access: Annotated[Access, may(Action.COUPON_PUT)],
    context: Using,
    response: Response,
) -> Coupon:
    """Make a coupon (201) or change it (200); orders made before keep their discount."""
    found, made = await coupon.put(context.desk, access, _coupon(code, body))
    response.status_code = 201 if made else 200
    return _document(found)


@router.get("", response_model=Coupons)
async def list_coupons(
    asked: Annotated[Listing, Query()],
    access: Annotated[Access, may(Action.COUPON_LIST)],
    context: Replicated,
) -> Coupons:
    """Coupons, the one that was made last first. Whoever knows a code may use it: only staff sees
    them all."""
    find = partial(coupon.listed, context.desk, access, asked.since, asked.until)
    return await page(context, asked, ("coupons", None), Coupons, find, _document)


@router.get("/{code}", response_model=Coupon)
async def get_coupon(
    code: PathCode, access: Annotated[Access, may(Action.COUPON_READ)], context: Using
) -> Coupon:
    """A coupon with its counts."""
    return _document(await coupon.get(context.desk, access, code))


@router.post("/{code}/claims", status_code=201, response_model=CouponClaim)
async def claim_coupon(
    code: PathCode,
    call: Annotated[Call, keyed(Action.COUPON_CLAIM)],
    context: Using,
    body: NewClaim | None = None,
) -> Response:
    """Get one of the limited coupons, first come, first served."""
    if (stored := await cached(context, call)) is not None:
        return stored
    claimed = await coupon.claim(
        context.desk, call, code, None if body is None else body.customer_id
    )
    return await answer(context, call, claimed, _claim)


def _coupon(code: str, body: NewCoupon) -> rules.Coupon:
    return rules.Coupon(
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


def _document(row: rules.Coupon) -> Coupon:
    return Coupon(
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


def _claim(row: rules.CouponClaim) -> CouponClaim:
    return CouponClaim(
        id=row.id, code=row.code, customerId=row.customer_id, createdAt=utc(row.created_at)
    )
