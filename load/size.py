"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Turns of each subject; in one turn so many operations in flight together, and alone. A month
    has so many customers. What goes on for a while is looked at for so many seconds. What grows
    grows to so many."""

    rounds: int
    together: int
    alone: int
    customers: int
    seconds: int
    payments_before: tuple[int, ...]
    invoices: int


QUICK = Size(
    rounds=5,
    together=64,
    alone=10,
    customers=20,
    seconds=8,
    payments_before=(10_000,),
    invoices=50_000,
)
FULL = Size(
    rounds=7,
    together=300,
    alone=50,
    customers=100,
    seconds=30,
    payments_before=(100_000, 1_000_000),
    invoices=1_000_000,
)
