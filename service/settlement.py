"""Settlement: closing months into invoices, one customer's or everybody's, and what came of it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.service import RPCError

from domain.access import SYSTEM, Access
from domain.audit import Action, Entry, Noun, actor
from domain.errors import NotFound, SettlementFailed
from domain.event import JSON
from domain.invoice import InvoiceStatus
from domain.period import Period
from domain.run import Progress
from domain.settlement import (
    WAITING,
    SettlementOutcome,
    SettlementRequest,
    SettlementStatus,
)
from service import invoice as invoices
from service.desk import Desk
from service.invoice import InvoiceRecord
from service.starts import start_settlement, start_settlement_run
from service.temporal import TemporalUnreachable
from store import audit, clock, customer, invoice, settlement
from store.database import Transaction
from workflows.monthly_settlement import MonthlySettlement
from workflows.settlement_run import SettlementRun

LOOK_SECONDS = 0.2
"""How often somebody who waits looks whether the settlement waits itself."""
POLL_SECONDS = 0.03
_QUERY_TIMEOUT = timedelta(seconds=5)
_NOT_ISSUED = frozenset(
    {InvoiceStatus.DRAFT, InvoiceStatus.AWAITING_APPROVAL, InvoiceStatus.SKIPPED}
)
REPLAYED_AT_ONCE = 5_000
"""Customers whose names fit into the input of one workflow by far."""


@dataclass(frozen=True)
class Failure:
    """A customer whose month could not be settled, or was still under way when its run ended."""

    customer_id: str
    reason: str
    invoice_id: str | None


@dataclass(frozen=True)
class Report:
    """A month for everybody, as far as it is; `counts` by settlement status."""

    started_at: datetime | None
    finished_at: datetime | None
    customers: int
    counts: Mapping[str, int]
    failures: tuple[Failure, ...]
    totals: Mapping[str, int]

    @property
    def failed_by_reason(self) -> Mapping[str, int]:
        """How many failed for which reason, the most frequent first."""
        return dict(Counter(each.reason for each in self.failures).most_common())

    @property
    def throughput(self) -> float | None:
        """Customers a second that the run has seen to."""
        return sum(self.counts.values()) / self.seconds if self.seconds else None

    @property
    def seconds(self) -> float | None:
        """How long the run took, or has taken so far."""
        if self.started_at is None:
            return None
        return ((self.finished_at or datetime.now(UTC)) - self.started_at).total_seconds()


async def report(desk: Desk, period: str) -> Report:
    """What became of a month so far."""
    async with desk.database.read(SYSTEM) as tx:
        run = await settlement.run(tx, period)
        failed = await settlement.unsettled(tx, period)
        return Report(
            started_at=None if run is None else run.started_at,
            finished_at=None if run is None else run.finished_at,
            customers=await settlement.count_customers(tx),
            counts=await settlement.counts(tx, period),
            failures=tuple(
                Failure(row.customer_id, row.reason or "", row.invoice_id) for row in failed
            ),
            totals=await settlement.totals(tx, period),
        )


async def start_run(
    desk: Desk, access: Access, period: str, customers: Sequence[str] = ()
) -> WorkflowHandle[SettlementRun, Progress]:
    """Settle a month for everybody, or for these customers; asked again while it runs, it is found.

    Raises `PeriodOpen`, `NotFound` for a customer that does not exist, and `TemporalUnreachable`:
    nothing is in a row yet, so nobody would start it later.
    """
    async with desk.database.read(access.scope) as tx:
        Period.parse(period).require_over(await clock.now(tx), "UTC")
        for customer_id in customers:
            await _require_customer(tx, customer_id)
    await _note_run(desk, access, Action.SETTLEMENT_RUN_STARTED, period, customers)
    async with _reaching_temporal(desk):
        handle = await start_settlement_run(
            desk.temporal, desk.terms.run(period, customers or None)
        )
    if not customers:
        async with desk.database.begin(access.scope) as tx:
            await settlement.announce_run(tx, period)
    return handle


async def _note_run(
    desk: Desk, access: Access, what: Action, period: str, customers: Sequence[str]
) -> None:
    """Before Temporal is told: what nobody had noted would be worse than a note of what Temporal
    did not take."""
    after: dict[str, JSON] = {"customers": len(customers) or None}
    entry = Entry(actor(access), what, Noun.SETTLEMENT_RUN, period, after=after)
    async with desk.database.begin(access.scope) as tx:
        await audit.append(tx, entry)


async def _note_month(desk: Desk, access: Access, wanted: SettlementRequest) -> None:
    id_ = f"{wanted.customer_id}/{wanted.period}"
    who, what = actor(access), Action.SETTLEMENT_STARTED
    async with desk.database.begin(access.scope) as tx:
        await audit.append(tx, Entry(who, what, Noun.SETTLEMENT, id_, wanted.customer_id))


async def require_over(desk: Desk, period: str) -> None:
    """Raises `PeriodOpen` while the month lasts, in UTC; a customer's own clock may go behind."""
    async with desk.database.read(SYSTEM) as tx:
        Period.parse(period).require_over(await clock.now(tx), "UTC")


async def progress(handle: WorkflowHandle[SettlementRun, Progress]) -> Progress | None:
    """How far a run is; None while no worker answers: the run waits for one."""
    try:
        return await handle.query(SettlementRun.progress, rpc_timeout=_QUERY_TIMEOUT)
    except RPCError:
        return None


async def replay_failed(desk: Desk, access: Access, period: str) -> tuple[Failure, ...]:
    """Start a run of the customers whose settlement failed; returns which. Of very many it takes
    the first ones: ask again for the rest."""
    await require_over(desk, period)
    failures = (await report(desk, period)).failures[:REPLAYED_AT_ONCE]
    if failures:
        names = [each.customer_id for each in failures]
        await _note_run(desk, access, Action.SETTLEMENT_RUN_REPLAYED, period, names)
        async with _reaching_temporal(desk):
            await start_settlement_run(desk.temporal, desk.terms.run(period, names))
    return failures


@dataclass(frozen=True)
class MonthStanding:
    """How the settlement of a customer's month stands."""

    customer_id: str
    status: SettlementStatus
    reason: str | None


async def standing(desk: Desk, period: str, customer_id: str) -> MonthStanding | None:
    """None when nobody has ever tried to settle it."""
    async with desk.database.read(SYSTEM) as tx:
        row = await settlement.find(tx, period, customer_id)
    if row is None:
        return None
    return MonthStanding(customer_id, SettlementStatus(row.status), row.reason)


@dataclass(frozen=True)
class SettledMonth:
    """What a customer's month came to. `invoice` is None when there is nothing to bill; `before`:
    it was settled already."""

    status: SettlementStatus
    invoice: InvoiceRecord | None
    before: bool = False


async def settle(desk: Desk, access: Access, customer_id: str, period: str) -> SettledMonth:
    """Settle a customer's month and wait shortly for its end, and for the charge. Raises
    `SettlementFailed`, and what `start_run` raises."""
    async with desk.database.read(access.scope) as tx:
        zone = await _require_customer(tx, customer_id)
        Period.parse(period).require_over(await clock.now(tx), zone)
        found = await _of_month(tx, customer_id, period)
    if found is not None and found.invoice.status not in _NOT_ISSUED:
        return SettledMonth(SettlementStatus.SETTLED, found, before=True)
    request = desk.terms.settlement(customer_id, period)
    await _note_month(desk, access, request)
    async with _reaching_temporal(desk):
        owner = await start_settlement(desk.temporal, request)
    return await _outcome(desk, request, owner)


async def settle_again(desk: Desk, access: Access, request: SettlementRequest) -> MonthStanding:
    """Settle a customer's month, or find the settlement that runs, and wait until it has ended or
    waits itself, for a person or for the end of its month."""
    await _note_month(desk, access, request)
    handle = await start_settlement(desk.temporal, request)
    ended = asyncio.ensure_future(handle.result())
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=LOOK_SECONDS)
            found = await standing(desk, request.period, request.customer_id)
            if found is not None and found.status in WAITING:
                return found
        return await _end(request, ended)
    finally:
        ended.cancel()


async def _end(
    request: SettlementRequest, ended: "asyncio.Future[SettlementOutcome]"
) -> MonthStanding:
    try:
        outcome = ended.result()
    except WorkflowFailureError as error:
        cause = error.cause
        reason = cause.message if isinstance(cause, FailureError) else str(cause)
        return MonthStanding(request.customer_id, SettlementStatus.FAILED, reason)
    return MonthStanding(request.customer_id, outcome.status, outcome.reason)


async def _outcome(
    desk: Desk,
    request: SettlementRequest,
    owner: WorkflowHandle[MonthlySettlement, SettlementOutcome],
) -> SettledMonth:
    """Wait until the settlement has ended or waits for a person, then shortly for the charge."""
    ends_at = time.monotonic() + desk.wait_seconds
    ending = asyncio.create_task(_ended(owner))
    try:
        while True:
            # The invoice is read after what proves that it is there, numbered.
            status = ending.result().status if ending.done() else SettlementStatus.RUNNING
            async with desk.database.read(SYSTEM) as tx:
                found = await _of_month(tx, request.customer_id, request.period)
            if found is not None and found.invoice.status is InvoiceStatus.AWAITING_APPROVAL:
                status = SettlementStatus.AWAITING_APPROVAL
            over = status is not SettlementStatus.RUNNING and not _being_charged(found)
            if over or time.monotonic() > ends_at:
                break
            await asyncio.sleep(POLL_SECONDS)
    finally:
        ending.cancel()
    if status is SettlementStatus.FAILED:
        raise SettlementFailed(ending.result().reason or "It failed.")
    has_invoice = status not in (SettlementStatus.SKIPPED, SettlementStatus.REJECTED)
    return SettledMonth(status, found if has_invoice else None)


async def _ended(owner: WorkflowHandle[MonthlySettlement, SettlementOutcome]) -> SettlementOutcome:
    """How this very settlement ended; its row may still tell of an earlier one."""
    while True:
        try:
            return await owner.result()
        except WorkflowFailureError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError):
                return SettlementOutcome("", SettlementStatus.FAILED, reason=cause.message)
            return SettlementOutcome("", SettlementStatus.RUNNING)
        except RPCError:
            await asyncio.sleep(POLL_SECONDS)


def _being_charged(found: InvoiceRecord | None) -> bool:
    """Issued, and its first charge has not failed yet."""
    return (
        found is not None
        and found.invoice.status is InvoiceStatus.ISSUED
        and found.invoice.next_attempt_at is None
    )


async def _of_month(tx: Transaction, customer_id: str, period: str) -> InvoiceRecord | None:
    row = await invoice.of_month(tx, customer_id, period)
    return None if row is None else await invoices.record(tx, row)


async def _require_customer(tx: Transaction, customer_id: str) -> str:
    """Its time zone; raises `NotFound`."""
    found = await customer.find(tx, customer_id)
    if found is None:
        raise NotFound(f"There is no customer {customer_id}.")
    return str(found.time_zone)


@asynccontextmanager
async def _reaching_temporal(desk: Desk) -> AsyncIterator[None]:
    try:
        # A dead Temporal holds a call much longer than a caller waits.
        async with asyncio.timeout(desk.wait_seconds + 1):
            yield
    except RuntimeError as error:
        raise TemporalUnreachable(str(error)) from error
