"""Every step of a payment × everything that can happen to it, and then a clean slate."""

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from itertools import product

import httpx2
from temporalio.client import Client

from store.database import Database
from tests.billing import GOOD_CARD, Billing
from tests.cashier import Cashier
from tests.clean_slate import assert_clean_slate
from tests.faults import Fault, FaultInjector, Parked

OPEN, HOLD, CHARGE = "payment.open", "wallet.hold", "gateway.charge"
COMPLETE, RELEASE, FAIL = "payment.complete", "wallet.release", "payment.fail"

DECLINED_CARD = "4000000000000002"
UNKNOWN_CARD = "1111222233334444"
AT_A_TIME = 8

SHAPES = {"split": (1000, 2000), "wallet": (3000, 0), "card": (0, 3000)}
"""(wallet part, card part)."""

PLANNED = {
    "fails before": Fault.FAIL_BEFORE,
    "answer lost": Fault.LOSE_ANSWER,
    "cancel before the effect": Fault.PARK_BEFORE,
    "cancel after the effect": Fault.PARK_AFTER,
    "hint before the effect": Fault.PARK_BEFORE,
    "hint after the effect": Fault.PARK_AFTER,
}


@dataclass(frozen=True)
class Row:
    """One row of the table: what happens to which step of which payment."""

    shape: str
    step: str
    happens: str
    card: str
    undone: int
    """How often the undo of the wallet hold runs, if it does."""
    ends: frozenset[str]

    def __str__(self) -> str:
        card = {GOOD_CARD: "good", DECLINED_CARD: "declined", UNKNOWN_CARD: "unknown"}[self.card]
        return f"{self.shape}, {card} card: {self.step} {self.happens}, undo ×{self.undone}"


def table() -> Iterator[Row]:
    """Every row; one that never undoes anything stands here once, not once and twice."""
    for (shape, (wallet, card)), happens in product(SHAPES.items(), PLANNED):
        cards = [GOOD_CARD, DECLINED_CARD] if card else [GOOD_CARD]
        for number, step in product(cards, _steps(wallet, card)):
            declined = number == DECLINED_CARD
            if (step == COMPLETE and declined) or (step in (RELEASE, FAIL) and not declined):
                continue
            ends = _ends(step, happens, declined, alone=not card)
            undoes = wallet and ends != {"COMPLETED"}
            for undone in (1, 2) if undoes else (1,):
                yield Row(shape, step, happens, number, undone, ends)
    for undone in (1, 2):
        yield Row("split", CHARGE, "refused", UNKNOWN_CARD, undone, frozenset({"FAILED"}))
        yield Row("split", HOLD, "refused", GOOD_CARD, undone, frozenset({"FAILED"}))
        yield Row("wallet", HOLD, "refused", GOOD_CARD, undone, frozenset({"FAILED"}))


def _steps(wallet: int, card: int) -> list[str]:
    steps = [OPEN, HOLD, CHARGE, COMPLETE, RELEASE, FAIL]
    absent = set() if wallet else {HOLD, RELEASE}
    absent |= set() if card else {CHARGE}
    return [step for step in steps if step not in absent]


def _ends(step: str, happens: str, declined: bool, alone: bool) -> frozenset[str]:
    if "cancel" not in happens:
        return frozenset({"FAILED" if declined else "COMPLETED"})
    if declined:
        # Whoever asks in time gets CANCELLED; when FAILED is written already, that stays.
        early = step != FAIL and step != RELEASE
        return frozenset({"CANCELLED"} if early else {"FAILED", "CANCELLED"})
    if step in (OPEN, HOLD) or alone:
        # A local step ends before its worker hears of the request, which then may come too late.
        return frozenset({"COMPLETED", "CANCELLED"})
    return frozenset({"COMPLETED"})


async def test_every_step_survives_everything_that_can_happen_to_it(
    api: httpx2.AsyncClient,
    simulator: httpx2.AsyncClient,
    database: Database,
    payments: None,
    temporal_client: Client,
    faults: FaultInjector,
) -> None:
    rows = list(table())
    counter = asyncio.Semaphore(AT_A_TIME)
    failed: dict[str, BaseException] = {}

    async def run(row: Row) -> None:
        async with counter:
            billing = await Billing.for_new_customer(api, simulator, database)
            try:
                async with asyncio.timeout(30):
                    await _play(row, Cashier(billing, temporal_client, faults))
            except (AssertionError, TimeoutError) as error:
                failed[str(row)] = error

    await asyncio.gather(*map(run, rows))

    print(f"\n{len(rows)} rows of the table of PaymentSaga")
    assert not failed, "\n".join(f"{row}: {error!r}" for row, error in sorted(failed.items()))


async def _play(row: Row, cashier: Cashier) -> None:
    wallet, card = SHAPES[row.shape]
    refused_hold = (row.step, row.happens) == (HOLD, "refused")
    if wallet:
        await cashier.billing.top_up(wallet - 1 if refused_hold else 5000)
    request = await cashier.prepare(wallet, card, number=row.card)
    if row.undone == 2:
        cashier.plan(request, RELEASE, Fault.LOSE_ANSWER)
    parked = None
    if row.happens in PLANNED:
        parked = cashier.plan(request, row.step, PLANNED[row.happens])

    handle = await cashier.start(request)
    if parked and "cancel" in row.happens:
        await _meanwhile(parked, handle.cancel())
    elif parked and "hint" in row.happens:
        await _meanwhile(parked, handle.signal("gateway_hint"))
    outcome = await handle.result()

    assert outcome.status in row.ends, outcome
    assert await cashier.status(request) == outcome.status
    await assert_clean_slate(cashier.billing)
    if "COMPLETED" not in row.ends and wallet:
        assert cashier.calls(request).count(RELEASE) >= row.undone


async def _meanwhile(parked: Parked, sending: Awaitable[None]) -> None:
    """Send a request to a workflow whose activity is parked, then let the activity go on."""
    await parked.reached.wait()
    await sending
    parked.release.set()
