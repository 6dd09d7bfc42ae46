"""What is done with the parts of a payment that lie with us: one entry for each kind.

The card's part has none: its steps are what is asked of the PG.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from temporalio.types import MethodAsyncSingleParam

from activities.points import PointsActivities
from activities.wallet import WalletActivities
from domain.funding import Kind, Part
from domain.payment import PaymentRequest
from domain.saga import POINTS_DEDUCT, WALLET_HOLD
from domain.wallet import Hold
from store import wallet
from store.change import Change
from store.database import Database, Transaction


@dataclass(frozen=True)
class Step:
    """`do` and `undo` are activities, a transaction each. `take` and `give_back` join the one in
    which a payment or a refund completes; the postings are the caller's. `holding` is what `do`
    does as a part of a statement, and `taking` is `take`, with what the customer has earned in the
    unit of the part."""

    name: str
    activities: Callable[[Database], Any]
    do: MethodAsyncSingleParam[Any, PaymentRequest, None]
    undo: MethodAsyncSingleParam[Any, PaymentRequest, None]
    holding: Callable[[Hold], Change]
    take: Callable[[Transaction, Hold], Awaitable[None]]
    taking: Callable[[Hold, int], Change]
    give_back: Callable[[Transaction, Part], Awaitable[None]]


async def _to_wallet(tx: Transaction, part: Part) -> None:
    await wallet.credit(tx, part.holder, part.unit, part.amount)


STEPS: Mapping[Kind, Step] = {
    Kind.WALLET: Step(
        WALLET_HOLD,
        WalletActivities,
        WalletActivities.hold,
        WalletActivities.release,
        wallet.holding,
        wallet.commit_hold,
        wallet.committing_hold,
        _to_wallet,
    ),
    Kind.POINTS: Step(
        POINTS_DEDUCT,
        PointsActivities,
        PointsActivities.deduct,
        PointsActivities.give_back,
        wallet.holding,
        wallet.commit_hold,
        wallet.committing_hold,
        _to_wallet,
    ),
}
