"""What a payment is made up of: parts of several kinds, each with the accounts that it passes
through. A refund gives back parts of the same kinds.

The card's part is the only one that lies with a PG. All others lie with us: they are set aside
before the pivot, taken with it and given back after it in the same way.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from domain import ledger, points
from domain.money import format_amount


class Kind(StrEnum):
    """In the order in which a payment sets its parts aside."""

    WALLET = "wallet"
    CARD = "card"
    POINTS = "points"


GIVEN_BACK = (Kind.CARD, Kind.WALLET, Kind.POINTS)
"""In the order in which refunds use the parts up."""


@dataclass(frozen=True)
class Part:
    """An amount of one kind. `holder` is the customer, or the PG that takes the card's part."""

    kind: Kind
    unit: str
    amount: int
    holder: str

    @property
    def source(self) -> str:
        """The account that it lies on until the payment has ended."""
        return _TERMS[self.kind].source(self.holder)

    @property
    def home(self) -> str:
        """The account that a refund gives it back to."""
        return _TERMS[self.kind].home(self.holder)

    @property
    def spent_on(self) -> str:
        """The account where it goes when it pays for something."""
        return _TERMS[self.kind].spent_on

    @property
    def in_wallet(self) -> bool:
        """Whether it goes back into a wallet, in its unit."""
        return self.home == ledger.available(self.holder)

    def __str__(self) -> str:
        """As a person reads it."""
        money = format_amount(self.amount, self.unit)
        return _TERMS[self.kind].words.format(self, money=money)


class Funded:
    """What has parts: a payment, a refund, and the requests for them. Their inputs, rows and
    documents name each amount; here alone these names become a list."""

    customer_id: str
    currency: str
    gateway: str
    wallet_amount: int
    card_amount: int
    points_amount: int

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those that there are, in the order in which they are set aside."""
        return _present(
            (
                Part(Kind.WALLET, self.currency, self.wallet_amount, self.customer_id),
                Part(Kind.CARD, self.currency, self.card_amount, self.gateway),
                Part(Kind.POINTS, points.UNIT, self.points_amount, self.customer_id),
            )
        )

    @property
    def ours(self) -> tuple[Part, ...]:
        """The parts that lie with us: all but the card's."""
        return tuple(part for part in self.parts if part.kind is not Kind.CARD)

    @property
    def money(self) -> int:
        """The sum of the parts that are in its currency."""
        return worth(part for part in self.parts if part.unit == self.currency)

    @property
    def worth(self) -> int:
        """The sum of all parts."""
        return worth(self.parts)


def worth(parts: Iterable[Part]) -> int:
    """In minor units: a point that paid one minor unit counts as one."""
    return sum(part.amount for part in parts)


def by_kind(parts: Iterable[Part]) -> dict[Kind, int]:
    """The amount of each kind, 0 where there is none."""
    return dict.fromkeys(Kind, 0) | {part.kind: part.amount for part in parts}


def less(parts: Iterable[Part], taken: Mapping[Kind, int]) -> tuple[Part, ...]:
    """What is left of them."""
    return _present(replace(part, amount=part.amount - taken[part.kind]) for part in parts)


def first(parts: Sequence[Part], amount: int) -> tuple[Part, ...]:
    """What a refund of this amount gives back: each kind is used up before the next one. All of
    them where the amount is more than they are worth."""
    shares = []
    for part in sorted(parts, key=lambda part: GIVEN_BACK.index(part.kind)):
        share = min(amount, part.amount)
        shares.append(replace(part, amount=share))
        amount -= share
    return _present(shares)


def _present(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if part.amount)


@dataclass(frozen=True)
class _Terms:
    words: str
    source: Callable[[str], str]
    home: Callable[[str], str]
    spent_on: str


_TERMS = {
    Kind.WALLET: _Terms(
        "{money} of wallet {0.holder}", ledger.held, ledger.available, ledger.SALES
    ),
    Kind.CARD: _Terms("{money} by card", ledger.gateway, ledger.gateway, ledger.SALES),
    Kind.POINTS: _Terms(
        "{0.amount} points of {0.holder}", ledger.held, ledger.available, points.REDEEMED
    ),
}
