"""Setting money of a wallet aside, and giving it back."""

from temporalio import activity

from domain.access import SYSTEM
from domain.errors import HoldReleased, InsufficientFunds
from domain.funding import Kind
from domain.money import format_amount
from domain.payment import PaymentRequest
from domain.saga import WALLET_HOLD, StepState
from domain.wallet import HoldState
from store import change, ledger, saga, wallet
from store.database import Database


class WalletActivities:
    """One transaction each; safe to run any number of times."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="wallet.hold")
    async def hold(self, payment: PaymentRequest) -> None:
        """Move the wallet part from available to held, once; raises `InsufficientFunds`."""
        wanted = payment.hold(Kind.WALLET)
        held = (wallet.holding(wanted), ledger.appending(wanted.taken()))
        done = saga.recording(payment, {WALLET_HOLD: StepState.DONE})
        if await change.at_once(self._database, SYSTEM, *held, *done):
            return
        async with self._database.begin(SYSTEM) as tx:
            if await wallet.hold(tx, wanted):
                await saga.record(tx, payment, {WALLET_HOLD: StepState.DONE})
                return
            state = await wallet.hold_state(tx, wanted)
            if state is None:
                amount = format_amount(wanted.amount, wanted.unit)
                raise InsufficientFunds(f"The wallet holds less than {amount}.")
            if state is HoldState.RELEASED:
                raise HoldReleased("An earlier run of this payment gave its hold back.")

    @activity.defn(name="wallet.release")
    async def release(self, payment: PaymentRequest) -> None:
        """Give the hold back if there is one; a hold that comes later does nothing."""
        async with self._database.begin(SYSTEM) as tx:
            if await wallet.release(tx, payment.hold(Kind.WALLET)):
                await saga.record_undone(tx, payment, WALLET_HOLD)
