"""What an invoice bills, frozen, and the lines that follow from it.

A month costs its flat fee and its usage, and its minimum at least. That holds however late usage
comes: an invoice takes what a month costs now less what invoices before it took for that month.

The rules about the minimum are Lago's (getlago.com/docs/guide/plans/commitment): the fee and all
usage of the billing period count towards it, and a true-up tops the rest up. Late usage therefore
counts towards the minimum of the month in which it happened, not of the invoice that names it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from domain.errors import AmountOutOfRange
from domain.event import JSON
from domain.money import MAX_MINOR_UNITS, format_amount
from domain.period import Period
from domain.pricing import (
    ZERO,
    Charge,
    ChargeModel,
    Plan,
    Step,
    decimal_text,
    price,
    price_more,
)


class LineKind(StrEnum):
    USAGE = "USAGE"
    LATE_USAGE = "LATE_USAGE"
    """Of a month that an invoice before has settled; the line names it."""
    FLAT_FEE = "FLAT_FEE"
    MINIMUM = "MINIMUM"
    """What was missing to the month's minimum commitment."""


@dataclass(frozen=True)
class PricedLine:
    """A line of an invoice: `amount` minor units, never below zero. Its `steps` add up to it.

    `quantity` is what this line bills, before free units; 1 for a fee or a minimum.
    """

    kind: LineKind
    resource_type: str | None
    period: Period
    quantity: Decimal
    amount: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Billed:
    """What the invoices that stand have billed of a month by lines of one kind, resource and
    currency."""

    kind: LineKind
    resource_type: str | None
    currency: str
    quantity: Decimal
    amount: int


@dataclass(frozen=True)
class MeteredUsage:
    """A month's usage of one resource: `quantity` is new; `before` is what the usage lines of other
    invoices have billed, for `charged` minor units; `abroad` what they have billed in another
    currency, for money that cannot be compared."""

    resource_type: str
    quantity: Decimal
    before: Decimal = ZERO
    charged: int = 0
    abroad: Decimal = ZERO

    @property
    def known(self) -> Decimal:
        """Without what is new."""
        return self.abroad + self.before

    @property
    def in_all(self) -> Decimal:
        return self.known + self.quantity


@dataclass(frozen=True)
class Month:
    """A month, the plan that it was or is settled under, and its usage, one entry a resource.

    `usage` names every resource of the month, also those without new usage: what they cost decides
    how much of the minimum is used. `topped_up`: minor units that other invoices took to reach the
    month's minimum (their MINIMUM lines). `doubts`: what could not be compared with what was billed
    in another currency.
    """

    period: Period
    plan: Plan
    usage: tuple[MeteredUsage, ...] = ()
    topped_up: int = 0
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = {usage.resource_type for usage in self.usage}
        if len(named) != len(self.usage):
            raise ValueError(f"{self.period}: a resource is named twice")


@dataclass(frozen=True)
class PricingSnapshot:
    """Everything that an invoice's amounts depend on: whatever happens to the plans afterwards,
    `price_invoice` makes the same lines of it. `late`: months before with usage that came late.
    `time_zone`: by whose clock the events were put into months; None in the oldest invoices."""

    month: Month
    late: tuple[Month, ...] = ()
    time_zone: str | None = None

    def __post_init__(self) -> None:
        periods = {month.period for month in (self.month, *self.late)}
        if len(periods) != len(self.late) + 1:
            raise ValueError(f"{self.month.period}: a month is billed twice")

    def plan_of(self, period: Period) -> Plan | None:
        """By which prices it bills a month; None when it does not."""
        plans = (each.plan for each in (self.month, *self.late) if each.period == period)
        return next(plans, None)

    def to_json(self) -> dict[str, JSON]:
        """To be stored; numbers that may have a fraction are strings."""
        return {
            "month": _month_json(self.month),
            "late": [_month_json(each) for each in self.late],
            "timeZone": self.time_zone,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "PricingSnapshot":
        """The inverse of `to_json`."""
        late = tuple(_month(each) for each in stored["late"])
        return cls(_month(stored["month"]), late, stored.get("timeZone"))


@dataclass(frozen=True)
class PricedInvoice:
    """The ordered lines of an invoice and their sum in minor units.

    `unpriced` says in words what could not be priced. It must stop the invoice: usage that no line
    names would be free without anybody having decided so. `doubts`: what a person must look at.
    """

    lines: tuple[PricedLine, ...]
    total: int
    unpriced: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def price_invoice(snapshot: PricingSnapshot) -> PricedInvoice:
    """The lines: the month's usage by resource, late usage by month and resource, flat fee,
    minimum. Also the recomputation of an invoice from its stored snapshot.

    Raises `AmountOutOfRange` when a line or the total is above `MAX_MINOR_UNITS`.
    """
    month, late = snapshot.month, sorted(snapshot.late, key=lambda each: each.period)
    currency = month.plan.currency
    lines = _usage_lines(LineKind.USAGE, month)
    unpriced = _unpriced(month, currency)
    for each in late:
        if each.plan.currency == currency:
            lines += _usage_lines(LineKind.LATE_USAGE, each)
        unpriced += _unpriced(each, currency)
    lines += _fee_lines(month, sum(line.amount for line in lines if line.period == month.period))
    total = sum(line.amount for line in lines)
    # No line is below zero: the bound of the total bounds each of them.
    if total > MAX_MINOR_UNITS:
        most = format_amount(MAX_MINOR_UNITS, currency)
        what = format_amount(total, currency)
        raise AmountOutOfRange(f"{month.period} comes to {what}, more than {most}.")
    doubts = [doubt for each in (month, *late) for doubt in each.doubts]
    if month.plan.minimum and any(usage.abroad for usage in month.usage):
        doubts.append(f"the minimum of {month.period}, whose usage was billed in two currencies")
    return PricedInvoice(tuple(lines), total, tuple(unpriced), tuple(doubts))


def says_nothing(lines: Collection[PricedLine]) -> bool:
    """Whether an invoice of these lines has nothing to pay and nothing to show: what was used was
    free, and came in time."""
    return all(line.amount == 0 and line.kind is not LineKind.LATE_USAGE for line in lines)


def plan_of_late_usage(
    billed_by: Sequence[Plan], today: Plan | None, now: Plan, resource_types: Collection[str]
) -> Plan | None:
    """What late usage costs: what the invoices say that have billed its month (`billed_by`, the
    month's own first), whatever the plan says since. What they do not name costs what the plan says
    of that month by now (`today`), so that a price that was forgotten can be mended. Currencies are
    never added: late usage of a month in another one costs what `now`, the plan of the invoice that
    bills it, says. None: nobody has said what that month costs."""
    if today is None and not billed_by:
        return None
    here = [plan for plan in billed_by if plan.currency == now.currency]
    if billed_by and not here:
        return now
    known = [*here, *([today] if today is not None and today.currency == now.currency else [])]
    if not known:
        return now
    plan, *others = known
    for other in others:
        plan = plan.with_charges_of(other, resource_types)
    return plan


def month_to_bill(
    period: Period,
    plan: Plan,
    new: Mapping[str, Decimal],
    billed: Sequence[Billed],
    billed_by: Sequence[Plan] = (),
) -> Month:
    """What is `new` of a month, by resource, beside what the invoices that stand have billed of it.

    Units are units in every currency, so what is free is free once. Money is not: whatever depends
    on an amount in another currency is a doubt for a person.
    """
    here = [each for each in billed if each.currency == plan.currency]
    abroad = [each for each in billed if each.currency != plan.currency]
    names = {*new, *(each.resource_type for each in billed if each.resource_type is not None)}
    usage = tuple(
        MeteredUsage(
            name,
            new.get(name, ZERO),
            sum((each.quantity for each in here if each.resource_type == name), ZERO),
            sum(each.amount for each in here if each.resource_type == name),
            sum((each.quantity for each in abroad if each.resource_type == name), ZERO),
        )
        for name in sorted(names)
    )
    topped_up = sum(each.amount for each in here if each.kind is LineKind.MINIMUM)
    doubts = _doubts(period, plan, usage, abroad, billed_by)
    return Month(period, plan, usage, topped_up, tuple(doubts))


def _doubts(
    period: Period,
    plan: Plan,
    usage: Sequence[MeteredUsage],
    abroad: Sequence[Billed],
    billed_by: Sequence[Plan],
) -> Iterator[str]:
    currencies = ", ".join(sorted({each.currency for each in abroad}))
    lists = [each for each in billed_by if each.currency != plan.currency]
    if any(each.kind is LineKind.MINIMUM for each in abroad):
        yield f"late usage of {period}, whose minimum was billed in {currencies}"
    for each in usage:
        there = next(
            (found for other in lists if (found := other.charge(each.resource_type))), None
        )
        here = plan.charge(each.resource_type)
        if each.quantity and each.abroad and not _counts_alike(here, there):
            units = decimal_text(each.abroad)
            yield f"{each.resource_type} of {period}, of which {units} were billed in {currencies}"


def _counts_alike(here: Charge | None, there: Charge | None) -> bool:
    """Whether only the price of a unit differs: then it does not matter in which currency the units
    before were billed."""
    if here is None or there is None:
        return False
    per_unit = here.model is there.model is ChargeModel.PER_UNIT
    return per_unit and here.free_units == there.free_units


def _usage_lines(kind: LineKind, month: Month) -> list[PricedLine]:
    """What the month's usage costs now, less what the usage lines of other invoices took and what
    the month's minimum has paid for: first of what they had named, then of what is new, first line
    first. Without new usage there is a line where a minimum that had paid was cancelled."""
    left = _left_of_minimum(month)
    settled = {}
    for usage, charge in _charged(month):
        taken = usage.charged + price(charge, usage.abroad).amount
        covered = min(max(price(charge, usage.known).amount - taken, 0), left)
        settled[usage.resource_type] = taken + covered
        left -= covered
    lines = []
    for usage, charge in _charged(month):
        more = price_more(charge, usage.in_all, settled[usage.resource_type])
        if not usage.quantity and not more.amount:
            continue
        within = min(left, more.amount)
        left -= within
        priced = more.less("paid by the minimum", Decimal(within))
        lines.append(
            PricedLine(
                kind, usage.resource_type, month.period, usage.quantity, priced.amount, priced.steps
            )
        )
    return lines


def _left_of_minimum(month: Month) -> int:
    """What was taken to reach the minimum, less what is missing to it still: an invoice that had
    counted towards it may have been cancelled."""
    plan = month.plan
    costs = sum(price(charge, usage.in_all).amount for usage, charge in _charged(month))
    missing = max(plan.minimum - plan.flat_fee - costs, 0)
    return max(month.topped_up - missing, 0)


def _fee_lines(month: Month, usage: int) -> list[PricedLine]:
    """`usage`: what this invoice bills for the month's usage."""
    plan, lines = month.plan, []
    if plan.flat_fee:
        fee = _step("flat fee", plan.flat_fee)
        lines.append(_monthly(LineKind.FLAT_FEE, month, plan.flat_fee, (fee,)))
    billed = usage + sum(each.charged for each in month.usage)
    if (missing := plan.minimum - plan.flat_fee - billed) > 0:
        steps = (
            _step("minimum", plan.minimum),
            _step("flat fee", -plan.flat_fee),
            _step("usage", -billed),
        )
        lines.append(_monthly(LineKind.MINIMUM, month, missing, steps))
    return lines


def _monthly(kind: LineKind, month: Month, amount: int, steps: tuple[Step, ...]) -> PricedLine:
    return PricedLine(kind, None, month.period, Decimal(1), amount, steps)


def _step(label: str, amount: int) -> Step:
    return Step(label, Decimal(1), Decimal(amount), Decimal(amount))


def _charged(month: Month) -> list[tuple[MeteredUsage, Charge]]:
    """What the plan names of the month's usage, in an order that does not depend on where it was
    read from."""
    usage = sorted(month.usage, key=lambda each: each.resource_type)
    found = ((each, month.plan.charge(each.resource_type)) for each in usage)
    return [(each, charge) for each, charge in found if charge is not None]


def _unpriced(month: Month, currency: str) -> list[str]:
    plan = month.plan
    named = {charge.resource_type for charge in plan.charges}
    foreign = plan.currency != currency
    return [
        f"{usage.resource_type} of {month.period} in {plan.code} {plan.version} ({plan.currency})"
        for usage in month.usage
        if usage.quantity and (foreign or usage.resource_type not in named)
    ]


def _month_json(month: Month) -> dict[str, JSON]:
    return {
        "period": str(month.period),
        "plan": {"code": month.plan.code, "version": month.plan.version, **month.plan.prices()},
        "usage": [
            {
                "resourceType": usage.resource_type,
                "quantity": decimal_text(usage.quantity),
                "before": decimal_text(usage.before),
                "charged": usage.charged,
                "abroad": decimal_text(usage.abroad),
            }
            for usage in month.usage
        ],
        "toppedUp": month.topped_up,
        "doubts": list(month.doubts),
    }


def _month(stored: dict[str, Any]) -> Month:
    plan = stored["plan"]
    return Month(
        period=Period.parse(stored["period"]),
        plan=Plan.of_prices(plan["code"], plan["version"], plan),
        usage=tuple(
            MeteredUsage(
                resource_type=usage["resourceType"],
                quantity=Decimal(usage["quantity"]),
                before=Decimal(usage["before"]),
                charged=usage["charged"],
                abroad=Decimal(usage.get("abroad", 0)),
            )
            for usage in stored["usage"]
        ),
        topped_up=stored["toppedUp"],
        doubts=tuple(stored.get("doubts", ())),
    )
