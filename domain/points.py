"""Loyalty points: a wallet in the unit `POINT`, earned and spent as postings of the ledger."""

from domain.errors import PointsNotAccepted

UNIT = "POINT"

ISSUED = "points:issued"
"""Where earned points come from, and where those of a refund go back to."""

REDEEMED = "points:redeemed"
"""Where spent points go."""

PAYING_CURRENCIES = frozenset({"KRW"})
"""Currencies in which one point pays one minor unit."""

EARNED_BASIS_POINTS = 100
"""1 % of the money (not of points) that a completed order brought in."""


def check(wanted: int, currency: str, owed: int) -> None:
    """Raise `PointsNotAccepted` where points pay nothing, or for more than is owed."""
    if currency not in PAYING_CURRENCIES:
        raise PointsNotAccepted(f"Points cannot pay in {currency}.")
    if wanted > owed:
        raise PointsNotAccepted(f"{wanted} points are more than the {owed} that are owed.")


def earned(currency: str, money: int) -> int:
    """Points for an order that brought in this much money, rounded down."""
    return money * EARNED_BASIS_POINTS // 10_000 if currency in PAYING_CURRENCIES else 0


def to_take_back(earned_points: int, money: int, refunded: int, taken_back: int) -> int:
    """Earned points that go back once `refunded` of `money` is refunded, beyond those that went.

    In proportion, rounded down: a full refund takes all of them, and no order of partial refunds
    takes more than their sum would at once.
    """
    return earned_points * refunded // money - taken_back if money else 0
