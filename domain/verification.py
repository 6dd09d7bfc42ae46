"""Invariants: what is true of our books at any moment, also while payments are under way."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

SHOWN = 10
"""So many violations of an invariant are told one by one."""


class Invariant(StrEnum):
    """A sentence each in `PROMISES`."""

    LEDGER_BALANCES = "ledger-balances"
    WALLETS = "wallets-equal-their-postings"
    HOLDS = "held-money-equals-its-holds"
    NOTHING_HELD = "ended-payments-hold-nothing"
    HOLDS_END = "holds-end-as-their-payments"
    COUPON_COUNTS = "coupons-count-their-uses"
    COUPON_USES_END = "coupon-uses-end-as-their-payments"
    COUPONS_APPLIED = "coupons-are-applied-by-who-pays"
    STOCK = "stock-equals-its-reservations"
    RESERVATIONS_END = "reservations-end-as-their-payments"
    POINTS = "points-follow-their-payments"
    AUTHORIZATIONS = "no-authorization-is-left-open"
    ATTEMPTS = "ended-attempts-have-an-outcome"
    PAYMENTS_BOOKED = "payments-are-booked-as-they-ended"
    REFUNDS_BOOKED = "refunds-are-booked-as-they-ended"
    LATE_CAPTURES = "late-captures-go-back"
    ORDERS = "orders-agree-with-their-payments"
    REFUNDS = "refunds-are-within-their-captures"
    STEPS = "steps-agree-with-their-payments"
    STEPS_TOLD = "steps-are-told-as-they-stand"
    ORDERS_TOLD = "orders-are-told-as-they-stand"
    ENDS_TOLD = "ends-are-told-once"
    VERSIONS = "event-versions-have-no-gap"
    REVIEWS = "who-waits-for-a-person-is-asked-about"
    INVOICE_LINES = "invoices-equal-their-lines"
    INVOICE_PRICES = "invoices-equal-their-price-lists"
    INVOICE_USAGE = "invoices-equal-their-usage"
    INVOICE_NUMBERS = "invoice-numbers-have-no-gap"
    INVOICES_PAID = "paid-invoices-are-in-the-ledger"
    USAGE_COUNTED = "usage-counts-once"
    USAGE_BILLED = "usage-of-settled-months-is-billed"
    AUDIT_SEALED = "the-audit-trail-is-sealed"
    AUDIT_CHAIN = "seals-are-those-of-their-entries"
    OWNERS = "what-is-open-has-an-owner"
    GATEWAY = "gateways-say-what-the-ledger-says"


PROMISES: Mapping[Invariant, str] = {
    Invariant.LEDGER_BALANCES: "Every ledger transaction has postings, which sum to zero.",
    Invariant.WALLETS: "Every wallet says what its postings come to.",
    Invariant.HOLDS: "What a wallet has set aside is the sum of its live holds.",
    Invariant.NOTHING_HELD: "A payment that has ended holds no money, stock or coupon.",
    Invariant.HOLDS_END: "The holds of a completed payment are used up, of another given back.",
    Invariant.COUPON_COUNTS: "A coupon counts its live uses, and its claims.",
    Invariant.COUPON_USES_END: "The coupon of a completed payment is used, of another given back.",
    Invariant.COUPONS_APPLIED: "An order's coupon is applied by the payment that pays it.",
    Invariant.STOCK: "What is reserved of a SKU is the sum of its reservations.",
    Invariant.RESERVATIONS_END: "The stock of a completed payment has left, of another has not.",
    Invariant.POINTS: "Points are redeemed, earned and taken back as their payment says.",
    Invariant.AUTHORIZATIONS: "A payment that took nothing leaves no authorization open.",
    Invariant.ATTEMPTS: "Each call to the PG of what has ended has an outcome.",
    Invariant.PAYMENTS_BOOKED: "A completed payment is booked whole, another not at all.",
    Invariant.REFUNDS_BOOKED: "A completed refund is booked whole, another not at all.",
    Invariant.LATE_CAPTURES: "What the PG took late is given back, or on its way.",
    Invariant.ORDERS: "An order stands as its payments do.",
    Invariant.REFUNDS: "A payment counts its refunds, which are within what it took.",
    Invariant.STEPS: "The steps of a completed payment are done, of another taken back.",
    Invariant.STEPS_TOLD: "Each step of an order was told as it stands, and none twice.",
    Invariant.ORDERS_TOLD: "Each order that nobody is paying was told as it stands.",
    Invariant.ENDS_TOLD: "Every order, payment, refund and invoice has told its end exactly once.",
    Invariant.VERSIONS: "The events of each aggregate count 1, 2, 3 …",
    Invariant.REVIEWS: "Whatever needs a review has an open one, and nothing that has ended.",
    Invariant.INVOICE_LINES: "An invoice's total is the sum of its lines.",
    Invariant.INVOICE_PRICES: "An invoice's lines are what its frozen price list comes to.",
    Invariant.INVOICE_USAGE: "An invoice has claimed the usage that it bills.",
    Invariant.INVOICE_NUMBERS: "Invoice numbers have no gap, and rise with their dates.",
    Invariant.INVOICES_PAID: "A paid invoice's total is in the ledger once, of another not at all.",
    Invariant.USAGE_COUNTED: "Each usage identity has one event; a void one is on no invoice.",
    Invariant.USAGE_BILLED: "Usage of a settled month, received in time, is on an invoice.",
    Invariant.AUDIT_SEALED: "An entry of the audit trail is sealed within a minute.",
    Invariant.AUDIT_CHAIN: "The last seals are those of their entries and of each other.",
    Invariant.OWNERS: "Whatever is open has a running workflow.",
    Invariant.GATEWAY: "What the ledger says of each payment is what its PG's own book says.",
}


@dataclass(frozen=True)
class Violation:
    """`id` of what is wrong; `wrong` is a sentence."""

    id: str
    wrong: str


@dataclass(frozen=True)
class Finding:
    """What looking at one invariant came to; `first` are some of its violations."""

    invariant: Invariant
    looked_at: int
    violations: int = 0
    first: tuple[Violation, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that was looked at, and when that began."""

    at: datetime
    findings: tuple[Finding, ...]

    @property
    def violations(self) -> int:
        return sum(finding.violations for finding in self.findings)


@dataclass(frozen=True)
class Moved:
    """What a PG has taken for a payment and given back of it, in one currency."""

    captured: int = 0
    refunded: int = 0


Moves = Mapping[str, Moved]
"""By currency; none where nothing was taken."""


@dataclass(frozen=True)
class Priced:
    """An invoice whose lines stand, with the price list that is frozen into it."""

    id: str
    snapshot: dict[str, Any]


@dataclass(frozen=True)
class Open:
    """What somebody must own. `period` is empty where it has none."""

    noun: str
    id: str
    customer_id: str
    period: str


@dataclass(frozen=True)
class Booked:
    """What our ledger says of a payment at its PG. `at_rest`: neither it, nor a refund of it, nor a
    late capture is under way, so that the PG must say the same."""

    moves: Moves
    at_rest: bool


def unlike(ours: Moves, theirs: Moves) -> str | None:
    """How two books differ about a payment; None when they do not."""
    return "; ".join(_differences(ours, theirs)) or None


def _differences(ours: Moves, theirs: Moves) -> Iterator[str]:
    for currency in sorted({*ours, *theirs}):
        here, there = ours.get(currency, Moved()), theirs.get(currency, Moved())
        if here != there:
            yield (
                f"In {currency} the ledger says {here.captured} taken and {here.refunded} given "
                f"back, the PG {there.captured} and {there.refunded}"
            )


def disagreements(ours: Mapping[str, Booked], theirs: Mapping[str, Moves]) -> dict[str, str]:
    """By payment how our ledger and a PG's book differ, apart from what is under way."""
    found = {
        id_: sentence
        for id_, booked in ours.items()
        if booked.at_rest and (sentence := unlike(booked.moves, theirs.get(id_, {})))
    }
    unknown = "The PG has taken money for it, but we have no such payment"
    return found | {id_: unknown for id_ in theirs if id_ not in ours}
