"""What an invoice bills, frozen, and the lines that follow from it.

A month costs its flat fee and its usage, and its minimum at least. That holds however late usage
comes: an invoice takes what a month costs now less what invoices before it took for that month.

The rules about the minimum are Lago's (getlago.com/docs/guide/plans/commitment): the fee and all
usage of the billing period count towards it, and a true-up tops the rest up. Late usage therefore
counts towards the minimum of the month in which it happened, not of the invoice that names it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from domain.errors import AmountOutOfRange
from domain.event import JSON
from domain.money import MAX_MINOR_UNITS, format_amount
from domain.period import Period
from domain.pricing import ZERO, Charge, Plan, Step, decimal_text, price, price_more


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
class MeteredUsage:
    """A month's usage of one resource: `quantity` is new; `before` is what the usage lines of
    invoices before had billed, for `charged` minor units."""

    resource_type: str
    quantity: Decimal
    before: Decimal = ZERO
    charged: int = 0


@dataclass(frozen=True)
class Month:
    """A month, the plan that it was or is settled under, and its usage, one entry a resource.

    `usage` names every resource of the month, also those without new usage: what they cost decides
    how much of the minimum is used. `topped_up`: minor units that invoices before took to reach the
    month's minimum (their MINIMUM lines).
    """

    period: Period
    plan: Plan
    usage: tuple[MeteredUsage, ...] = ()
    topped_up: int = 0

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
    names would be free without anybody having decided so.
    """

    lines: tuple[PricedLine, ...]
    total: int
    unpriced: tuple[str, ...] = ()


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
    return PricedInvoice(tuple(lines), total, tuple(unpriced))


def plan_of_late_usage(
    issued: Plan | None, today: Plan | None, now: Plan, resource_types: Collection[str]
) -> Plan | None:
    """What late usage costs: what its month's own invoice says (`issued`), whatever the plan says
    since. What that does not name costs what the plan says of that month by now (`today`), so that
    a price that was forgotten can be mended. Currencies are never added: late usage of a month in
    another one costs what `now`, the plan of the invoice that bills it, says. None: nobody has said
    what that month costs."""
    plan = issued or today
    if plan is None:
        return None
    if plan.currency != now.currency:
        return now
    if today is None or today.currency != plan.currency:
        return plan
    return plan.with_charges_of(today, resource_types)


def _usage_lines(kind: LineKind, month: Month) -> list[PricedLine]:
    """Lines of what is new. What the month's minimum has paid for is set off, first line first."""
    paid = _left_of_minimum(month)
    lines = []
    for usage, charge in _charged(month):
        if not usage.quantity:
            continue
        more = price_more(charge, usage.before, usage.quantity, usage.charged)
        within = min(paid, more.amount)
        paid -= within
        owed = more.less("paid by the minimum", Decimal(within))
        lines.append(
            PricedLine(
                kind, usage.resource_type, month.period, usage.quantity, owed.amount, owed.steps
            )
        )
    return lines


def _left_of_minimum(month: Month) -> int:
    """What was taken to reach the minimum, less the usage that it has paid for since: that was
    billed at less than it costs."""
    used = (
        max(price(charge, usage.before).amount - usage.charged, 0)
        for usage, charge in _charged(month)
    )
    return max(month.topped_up - sum(used), 0)


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
            }
            for usage in month.usage
        ],
        "toppedUp": month.topped_up,
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
            )
            for usage in stored["usage"]
        ),
        topped_up=stored["toppedUp"],
    )
