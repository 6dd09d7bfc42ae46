"""Price lists: every change is a version, and what was effective when stays known."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import (
    Field,
)

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Replicated, Using
from api.documents.pricing import (
    _NAMES,
    _PRICES_OF,
    Amount,
    ChargePrices,
    PlanDocument,
    PlanVersionDocument,
    PlanVersions,
    TierPrice,
)
from api.fields import PLAN_CODE, Currency, Document, Moment, PlanCode, utc
from api.listing import Listing, page
from domain.access import Access
from domain.pricing import (
    MAX_CHARGES,
    ZERO,
    Charge,
    ChargeModel,
    Plan,
    PlanVersion,
    Tier,
)
from domain.roles import Action
from service import pricing

router = APIRouter(
    prefix="/api/v1/pricing-plans", tags=["pricing plans"], route_class=StrictJSONRoute
)

PathCode = Annotated[str, Path(pattern=PLAN_CODE)]


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
