"""Price lists as callers see them."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from api.documents.page import Page
from api.fields import Currency, Document, PlanCode
from domain.identifier import NAME
from domain.money import MAX_MINOR_UNITS
from domain.pricing import (
    MAX_TIERS,
    UNIT_PRICE_DECIMALS,
    ZERO,
    ChargeModel,
    decimal_text,
)

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


class PlanVersions(Page[PlanVersionDocument]):
    """A page of versions of plans."""
