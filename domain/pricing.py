"""Price lists, and what usage costs under them.

Unit prices are decimals finer than a minor unit; an amount is rounded once, per invoice line,
half-even (IEEE 754 roundTiesToEven, which favours neither side over many lines).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, localcontext
from enum import StrEnum
from typing import Any

from domain.errors import AmountOutOfRange, InvalidRequest
from domain.event import JSON
from domain.money import MAX_MINOR_UNITS, check_currency

ZERO = Decimal(0)

MAX_UNITS = Decimal(10) ** 15
"""Of a free allowance, the bound of a tier or the size of a package."""
UNIT_DECIMALS = 6
MAX_UNIT_PRICE = Decimal(MAX_MINOR_UNITS)
UNIT_PRICE_DECIMALS = 12
MAX_CHARGES = 100
MAX_TIERS = 100

_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])
"""The largest quantity times the longest unit price has 55 digits, more than the 28 that Python
carries by default. A digit lost here would be a fault, not a smaller invoice."""


class ChargeModel(StrEnum):
    PER_UNIT = "PER_UNIT"
    """Every unit costs the same."""
    GRADUATED = "GRADUATED"
    """Each unit costs what the tier in which it falls says."""
    VOLUME = "VOLUME"
    """Every unit costs what the tier in which the total falls says."""
    PACKAGE = "PACKAGE"
    """Units are sold in packages; a package begun is a package paid."""


@dataclass(frozen=True)
class Tier:
    """Units up to and including `up_to` (None: all the rest), each at `unit_price`."""

    up_to: Decimal | None
    unit_price: Decimal


@dataclass(frozen=True)
class Charge:
    """How one resource type is charged. `free_units` a month cost nothing under every model; tiers
    and packages count what is left after them. Prices are in minor units.

    Raises `InvalidRequest` for bounds that do not rise, numbers out of range, and prices that
    belong to another model: they would be ignored.
    """

    resource_type: str
    model: ChargeModel
    free_units: Decimal = ZERO
    unit_price: Decimal = ZERO
    tiers: tuple[Tier, ...] = ()
    package_size: Decimal = ZERO
    package_price: int = 0

    def __post_init__(self) -> None:
        for name in _PRICES - _PRICES_OF[self.model]:
            if getattr(self, name):
                wrong = f"{name.replace('_', ' ')} does not go with {self.model}"
                raise InvalidRequest(f"{self.resource_type}: {wrong}.")
        _check_numbers(self)
        if "tiers" in _PRICES_OF[self.model]:
            _check_tiers(self)
        if self.model is ChargeModel.PACKAGE and self.package_size <= 0:
            raise InvalidRequest(f"{self.resource_type}: a package needs a size above zero.")


@dataclass(frozen=True)
class Plan:
    """One version of a price list. `flat_fee` and `minimum` are minor units a month.

    Raises `InvalidRequest` for an unknown currency, an amount out of range, or a resource type that
    is charged twice.
    """

    code: str
    version: int
    currency: str
    charges: tuple[Charge, ...] = ()
    flat_fee: int = 0
    minimum: int = 0

    def __post_init__(self) -> None:
        check_currency(self.currency)
        named = [charge.resource_type for charge in self.charges]
        if len(set(named)) != len(named):
            raise InvalidRequest("A plan charges a resource type once.")
        if len(named) > MAX_CHARGES:
            raise InvalidRequest(f"A plan charges {MAX_CHARGES} resource types at most.")
        for amount in (self.flat_fee, self.minimum):
            _check_amount(amount, "fee or minimum")

    def charge(self, resource_type: str) -> Charge | None:
        """How this resource is charged; None when the plan does not name it."""
        named = [each for each in self.charges if each.resource_type == resource_type]
        return named[0] if named else None

    def with_charges_of(self, other: "Plan", resource_types: Collection[str]) -> "Plan":
        """The same plan with the charges for these resources only, those that it does not name from
        `other`."""
        found = (self.charge(each) or other.charge(each) for each in sorted(resource_types))
        return replace(self, charges=tuple(each for each in found if each is not None))

    def prices(self) -> dict[str, JSON]:
        """All but its name and version, to be stored; numbers that may have a fraction are
        strings."""
        return {
            "currency": self.currency,
            "flatFee": self.flat_fee,
            "minimum": self.minimum,
            "charges": [_charge_json(charge) for charge in self.charges],
        }

    @classmethod
    def of_prices(cls, code: str, version: int, stored: dict[str, Any]) -> "Plan":
        """The inverse of `prices`."""
        charges = tuple(_charge(each) for each in stored["charges"])
        return cls(code, version, stored["currency"], charges, stored["flatFee"], stored["minimum"])


@dataclass(frozen=True)
class PlanVersion:
    """What a plan is from some moment on; `plan` is None when it is withdrawn from then on."""

    code: str
    version: int
    effective_from: datetime
    plan: Plan | None


@dataclass(frozen=True)
class Step:
    """One line of arithmetic: `quantity` × `unit_price`, or what is set off against it."""

    label: str
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal

    def to_json(self) -> dict[str, JSON]:
        """To be stored with an invoice line and shown; the numbers are strings."""
        return {
            "label": self.label,
            "quantity": decimal_text(self.quantity),
            "unitPrice": decimal_text(self.unit_price),
            "amount": decimal_text(self.amount),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, str]) -> "Step":
        """The inverse of `to_json`."""
        quantity, unit_price = Decimal(stored["quantity"]), Decimal(stored["unitPrice"])
        return cls(stored["label"], quantity, unit_price, Decimal(stored["amount"]))


@dataclass(frozen=True)
class Priced:
    """An exact amount and the steps that add up to it."""

    exact: Decimal
    steps: tuple[Step, ...] = ()

    @property
    def amount(self) -> int:
        """Minor units, rounded half-even: the one rounding of an invoice line."""
        return int(self.exact.to_integral_value(rounding=ROUND_HALF_EVEN))

    def rounded(self) -> "Priced":
        """The same as whole minor units, with the rounding as its last step."""
        with localcontext(_EXACT):
            return self.less("rounded half-even", self.exact - self.amount)

    def less(self, label: str, amount: Decimal) -> "Priced":
        """With so much set off; the same when that is nothing."""
        if not amount:
            return self
        with localcontext(_EXACT):
            return Priced(self.exact - amount, (*self.steps, Step(label, ZERO, ZERO, -amount)))


def price(charge: Charge, quantity: Decimal) -> Priced:
    """What a month's quantity of one resource costs."""
    if quantity < 0:
        raise ValueError(f"a quantity of {quantity}")
    with localcontext(_EXACT):
        free = min(quantity, charge.free_units)
        steps = [Step("free", free, ZERO, ZERO)] if free else []
        steps += _MODELS[charge.model](charge, quantity - free)
        return Priced(sum((step.amount for step in steps), ZERO), tuple(steps))


def price_more(charge: Charge, quantity: Decimal, settled: int) -> Priced:
    """What a month's quantity of one resource costs beyond what is `settled` of it: late usage
    costs what it would have cost in time.

    What is settled is whole minor units, so the amounts of any batches add up to the amount of the
    whole: half a unit of money is neither lost nor taken twice between two invoices. Never less
    than nothing, where more units make all of them cheaper (volume) or packages are begun.
    """
    with localcontext(_EXACT):
        more = price(charge, quantity).rounded().less("billed before", Decimal(settled))
    return more.less("never below zero", min(more.exact, ZERO))


def decimal_text(value: Decimal) -> str:
    """Every digit, no exponent, no trailing zeros: equal numbers have equal texts."""
    return f"{_EXACT.normalize(value):f}"


def _per_unit(charge: Charge, quantity: Decimal) -> list[Step]:
    amount = quantity * charge.unit_price
    return [Step("per unit", quantity, charge.unit_price, amount)] if quantity else []


def _graduated(charge: Charge, quantity: Decimal) -> list[Step]:
    steps: list[Step] = []
    below = ZERO
    for number, tier in enumerate(charge.tiers, start=1):
        top = quantity if tier.up_to is None else min(quantity, tier.up_to)
        if (inside := top - below) > 0:
            amount = inside * tier.unit_price
            steps.append(Step(f"tier {number}", inside, tier.unit_price, amount))
            below = top
    return steps


def _volume(charge: Charge, quantity: Decimal) -> list[Step]:
    if not quantity:
        return []
    reached = (tier for tier in charge.tiers if tier.up_to is None or quantity <= tier.up_to)
    tier = next(reached)
    return [Step("volume", quantity, tier.unit_price, quantity * tier.unit_price)]


def _package(charge: Charge, quantity: Decimal) -> list[Step]:
    if not quantity:
        return []
    full, begun = divmod(quantity, charge.package_size)
    packages = full + 1 if begun else full
    price_each = Decimal(charge.package_price)
    return [Step("packages", packages, price_each, packages * price_each)]


_MODELS: dict[ChargeModel, Callable[[Charge, Decimal], list[Step]]] = {
    ChargeModel.PER_UNIT: _per_unit,
    ChargeModel.GRADUATED: _graduated,
    ChargeModel.VOLUME: _volume,
    ChargeModel.PACKAGE: _package,
}

_PRICES_OF: dict[ChargeModel, frozenset[str]] = {
    ChargeModel.PER_UNIT: frozenset({"unit_price"}),
    ChargeModel.GRADUATED: frozenset({"tiers"}),
    ChargeModel.VOLUME: frozenset({"tiers"}),
    ChargeModel.PACKAGE: frozenset({"package_size", "package_price"}),
}
_PRICES = frozenset[str]().union(*_PRICES_OF.values())


def _check_tiers(charge: Charge) -> None:
    bounds = [tier.up_to for tier in charge.tiers]
    rising = [bound for bound in bounds if bound is not None]
    if not bounds or bounds[-1] is not None or None in bounds[:-1]:
        raise InvalidRequest(f"{charge.resource_type}: exactly the last tier has no upper bound.")
    if any(low >= high for low, high in zip([ZERO, *rising], rising, strict=False)):
        raise InvalidRequest(f"{charge.resource_type}: the bounds of the tiers must rise.")
    if len(bounds) > MAX_TIERS:
        raise InvalidRequest(f"{charge.resource_type}: {MAX_TIERS} tiers at most.")


def _check_numbers(charge: Charge) -> None:
    bounds = [tier.up_to for tier in charge.tiers if tier.up_to is not None]
    for units in (charge.free_units, charge.package_size, *bounds):
        _check_number(charge, units, MAX_UNITS, UNIT_DECIMALS)
    for unit_price in (charge.unit_price, *(tier.unit_price for tier in charge.tiers)):
        _check_number(charge, unit_price, MAX_UNIT_PRICE, UNIT_PRICE_DECIMALS)
    _check_amount(charge.package_price, f"{charge.resource_type}: package price")


def _check_number(charge: Charge, value: Decimal, most: Decimal, decimals: int) -> None:
    # In this order: neither a NaN can be compared nor a huge number written with decimals.
    if not value.is_finite() or not 0 <= value <= most or value != _cut(value, decimals):
        wrong = f"a number must be from 0 to {most} with {decimals} decimals at most, not {value}"
        raise InvalidRequest(f"{charge.resource_type}: {wrong}.")


def _cut(value: Decimal, decimals: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), context=Context(prec=100))


def _check_amount(amount: int, what: str) -> None:
    if not 0 <= amount <= MAX_MINOR_UNITS:
        raise AmountOutOfRange(
            f"{what}: an amount must be from 0 to {MAX_MINOR_UNITS:,} minor units, not {amount}."
        )


def _charge_json(charge: Charge) -> dict[str, JSON]:
    tiers: list[JSON] = [
        {
            "upTo": None if tier.up_to is None else decimal_text(tier.up_to),
            "unitPrice": decimal_text(tier.unit_price),
        }
        for tier in charge.tiers
    ]
    return {
        "resourceType": charge.resource_type,
        "model": charge.model,
        "freeUnits": decimal_text(charge.free_units),
        "unitPrice": decimal_text(charge.unit_price),
        "tiers": tiers,
        "packageSize": decimal_text(charge.package_size),
        "packagePrice": charge.package_price,
    }


def _charge(stored: dict[str, Any]) -> Charge:
    return Charge(
        resource_type=stored["resourceType"],
        model=ChargeModel(stored["model"]),
        free_units=Decimal(stored["freeUnits"]),
        unit_price=Decimal(stored["unitPrice"]),
        tiers=tuple(_tier(each) for each in stored["tiers"]),
        package_size=Decimal(stored["packageSize"]),
        package_price=stored["packagePrice"],
    )


def _tier(stored: dict[str, Any]) -> Tier:
    up_to = stored["upTo"]
    return Tier(None if up_to is None else Decimal(up_to), Decimal(stored["unitPrice"]))
