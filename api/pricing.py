"""Price lists: every change is a version, and what was effective when stays known."""

import re
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Query, Response
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Replicated, Using
from api.fields import PLAN_CODE, Currency, Document, Moment, PlanCode, utc
from api.listing import Listing, Page, page
from domain.access import Access
from domain.identifier import NAME
from domain.money import MAX_MINOR_UNITS
from domain.pricing import (
    MAX_CHARGES,
    MAX_TIERS,
    UNIT_PRICE_DECIMALS,
    ZERO,
    Charge,
    ChargeModel,
    Plan,
    PlanVersion,
    Tier,
    decimal_text,
)
from domain.roles import Action
from service import pricing

router = APIRouter(
    prefix="/api/v1/pricing-plans", tags=["pricing plans"], route_class=StrictJSONRoute
)

PathCode = Annotated[str, Path(pattern=PLAN_CODE)]

_DECIMAL = re.compile(r"[0-9]{1,16}(\.[0-9]{1,18})?", re.ASCII)


def _exact(value: object) -> object:
    """Every digit as it was sent: `repr` of a number that api.bodies let pass has them all."""
    if isinstance(value, Decimal):
        return value
    text = repr(value) if isinstance(value, int | float) else value
    if isinstance(value, bool) or not isinstance(text, str):
        raise ValueError('a decimal is a string like "0.0015" or a number')
    if isinstance(value, float):
        text = f"{Decimal(text):f}"
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError(f'a decimal is like 1000 or "0.0015", not below zero: not {text[:40]!r}')
    return Decimal(text)


Exact = Annotated[
    Decimal,
    BeforeValidator(_exact),
    PlainSerializer(decimal_text, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": rf"^{_DECIMAL.pattern}$"},
                {"type": "number", "minimum": 0},
            ],
            "examples": ["0.0015"],
        }
    ),
]
UnitPrice = Annotated[
    Exact,
    Field(
        description=f"Minor units of the currency for one unit, {UNIT_PRICE_DECIMALS} decimals at "
        "most: 1 is ₩1 or $0.01."
    ),
]
Units = Annotated[Exact, Field(description="Units, six decimals at most.", examples=["10000"])]
Amount = Annotated[
    int,
    Field(
        strict=True, ge=0, le=MAX_MINOR_UNITS, description="Minor units a month.", examples=[50000]
    ),
]
_PRICES_OF = {
    ChargeModel.PER_UNIT: {"unit_price"},
    ChargeModel.GRADUATED: {"tiers"},
    ChargeModel.VOLUME: {"tiers"},
    ChargeModel.PACKAGE: {"package_size", "package_price"},
}
_NAMES = {
    "unit_price": "unitPrice",
    "tiers": "tiers",
    "package_size": "packageSize",
    "package_price": "packagePrice",
}


class TierPrice(Document):
    """Units up to and including `upTo`; null is all the rest and stands in the last tier only."""

    up_to: Units | None = None
    unit_price: UnitPrice


class ChargePrices(Document):
    """How a resource type is charged. PER_UNIT takes `unitPrice`; GRADUATED (each unit at the price
    of its tier) and VOLUME (all units at the price of the tier that the total reaches) take
    `tiers`; PACKAGE takes `packageSize` and `packagePrice`, and a package begun is paid."""

    resource_type: Annotated[str, Field(pattern=NAME.pattern, examples=["API_CALL"])]
    model: Annotated[
        Literal["PER_UNIT", "GRADUATED", "VOLUME", "PACKAGE"],
        Field(description="Says which of the prices below it takes."),
    ]
    free_units: Annotated[
        Units, Field(description="Cost nothing, every month. Tiers and packages begin after them.")
    ] = ZERO
    unit_price: UnitPrice | None = None
    tiers: Annotated[
        list[TierPrice] | None,
        Field(min_length=1, max_length=MAX_TIERS, description="From the lowest on, without gaps."),
    ] = None
    package_size: Units | None = None
    package_price: Annotated[Amount | None, Field(description="Minor units for one package.")] = (
        None
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed = _PRICES_OF[ChargeModel(self.model)]
        if {name for name in _NAMES if getattr(self, name) is not None} != needed:
            names = " and ".join(_NAMES[name] for name in sorted(needed, reverse=True))
            raise ValueError(f"{self.model} takes {names}, and nothing of another model")
        return self


class NewPlan(Document):
    """A price list: a flat fee a month, what usage costs, and the least that a month costs."""

    currency: Currency
    effective_from: Annotated[
        Moment | None, Field(description="Default: now. A month has one price list.")
    ] = None
    flat_fee: Annotated[Amount, Field(description="Minor units a month, used or not.")] = 0
    minimum: Annotated[
        Amount, Field(description="Fee and usage of a month come to so much at least.")
    ] = 0
    charges: Annotated[
        tuple[ChargePrices, ...],
        Field(max_length=MAX_CHARGES, description="What usage costs; one for a resource type."),
    ] = ()


class PlanVersionDocument(Document):
    """What a plan is from `effectiveFrom` on. A withdrawn one has no prices."""

    code: PlanCode
    version: int
    effective_from: datetime
    withdrawn: bool
    currency: Currency | None = None
    flat_fee: Amount | None = None
    minimum: Amount | None = None
    charges: list[ChargePrices] | None = None


class PlanDocument(Document):
    """A plan with all its versions, in the order in which they were added."""

    code: PlanCode
    versions: list[PlanVersionDocument]


@router.put(
    "/{code}", response_model=PlanVersionDocument, responses={201: {"model": PlanVersionDocument}}
)
async def put_plan(
    code: PathCode,
    body: NewPlan,
    access: Annotated[Access, may(Action.PLAN_PUT)],
    context: Using,
    response: Response,
) -> PlanVersionDocument:
    """Add a version (201). The same prices from the same moment on are no new one (200); invoices
    that were made before keep their amounts."""
    version, added = await pricing.put(context.desk, access, _plan(code, body), body.effective_from)
    response.status_code = 201 if added else 200
    return _document(version)


class PlanVersions(Page[PlanVersionDocument]):
    """A page of versions of plans."""


class PlanListing(Listing):
    """By what versions are found: `from` and `to` are of when they were added."""

    code: PlanCode | None = None


@router.get("", response_model=PlanVersions)
async def list_plans(
    asked: Annotated[PlanListing, Query()],
    access: Annotated[Access, may(Action.PLAN_READ)],
    context: Replicated,
) -> PlanVersions:
    """Versions of all plans, the one that was added last first."""
    find = partial(pricing.listed, context.desk, access, asked.code, asked.since, asked.until)
    return await page(context, asked, ("plans", None), PlanVersions, find, _document)


@router.get("/{code}", response_model=PlanDocument)
async def get_plan(
    code: PathCode, access: Annotated[Access, may(Action.PLAN_READ)], context: Using
) -> PlanDocument:
    """A plan with all its versions."""
    versions = await pricing.versions(context.desk, code)
    return PlanDocument(code=code, versions=[_document(each) for each in versions])


@router.delete("/{code}", status_code=204)
async def withdraw_plan(
    code: PathCode, access: Annotated[Access, may(Action.PLAN_WITHDRAW)], context: Using
) -> None:
    """Withdraw a plan from now on, with what was planned for later; the past stays as it was."""
    await pricing.withdraw(context.desk, access, code)


def _plan(code: str, body: NewPlan) -> Plan:
    return Plan(
        code=code,
        version=0,
        currency=body.currency,
        charges=tuple(_charge(each) for each in body.charges),
        flat_fee=body.flat_fee,
        minimum=body.minimum,
    )


def _charge(prices: ChargePrices) -> Charge:
    return Charge(
        resource_type=prices.resource_type,
        model=ChargeModel(prices.model),
        free_units=prices.free_units,
        unit_price=prices.unit_price or ZERO,
        tiers=tuple(Tier(tier.up_to, tier.unit_price) for tier in prices.tiers or ()),
        package_size=prices.package_size or ZERO,
        package_price=prices.package_price or 0,
    )


def _document(version: PlanVersion) -> PlanVersionDocument:
    return PlanVersionDocument(
        code=version.code,
        version=version.version,
        effectiveFrom=utc(version.effective_from),
        withdrawn=version.plan is None,
        **({} if version.plan is None else _prices(version.plan)),
    )


def _prices(plan: Plan) -> dict[str, Any]:
    return {
        "currency": plan.currency,
        "flatFee": plan.flat_fee,
        "minimum": plan.minimum,
        "charges": [_charge_prices(charge) for charge in plan.charges],
    }


def _charge_prices(charge: Charge) -> ChargePrices:
    values = {
        "unit_price": charge.unit_price,
        "tiers": [TierPrice(upTo=tier.up_to, unitPrice=tier.unit_price) for tier in charge.tiers],
        "package_size": charge.package_size,
        "package_price": charge.package_price,
    }
    taken = {_NAMES[name]: values[name] for name in _PRICES_OF[charge.model]}
    return ChargePrices(
        resourceType=charge.resource_type,
        model=charge.model,
        freeUnits=charge.free_units,
        **taken,
    )
