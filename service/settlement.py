"""Settlement: closing months into invoices, one customer's or everybody's, and what came of it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from domain.access import SYSTEM, Access, Scope
from domain.audit import Action, Entry, Noun, actor
from domain.errors import NotFound, SettlementFailed
from domain.event import JSON
from domain.invoice import InvoiceStatus
from domain.month import SeenMonth
from domain.period import Period
from domain.run import Progress
from domain.settlement import (
    WAITING,
    RecordedSettlement,
    SettlementOutcome,
    SettlementRequest,
    SettlementStatus,
    Wanted,
)
from domain.workflow_id import invoice_workflow_id, part_workflow_id, settlement_workflow_id
from service import invoice as invoices
from service import proposal
from service.audit import looked_through
from service.desk import Desk
from service.invoice import InvoiceRecord
from service.starts import start_settlement, start_settlement_run
from service.temporal import TemporalUnreachable
from store import audit, clock, customer, invoice, month, settlement
from store.database import Transaction
from store.page import Page, Place
from workflows.monthly_settlement import MonthlySettlement
from workflows.settlement_run import SettlementRun

LOOK_SECONDS = 0.2
"""How often somebody who waits for the end of a workflow looks whether that waits itself."""
POLL_SECONDS = 0.03
_QUERY_TIMEOUT = timedelta(seconds=5)
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
    """Settle a month for everybody, or for these customers, each once; asked again while it runs,
    it is found.

    What failed in an earlier run it settles again: of many that is a replay.

    Raises `PeriodOpen`, `NotFound` for a customer that does not exist, what `agreed_to_replay`
    raises, and `TemporalUnreachable`: nothing is in a row yet, so nobody would start it later.
    """
    async with desk.database.read(access.scope) as tx:
        Period.parse(period).require_over(await clock.now(tx), "UTC")
        customers = tuple(dict.fromkeys(customers))
        known = await customer.known(tx, customers)
        for unknown in (each for each in customers if each not in known):
            raise NotFound(f"There is no customer {unknown}.")
        again = await _settled_again(tx, period, customers)
    await agreed_to_replay(desk, access, period, again, customers)
    await _note_run(desk, access, Action.SETTLEMENT_RUN_STARTED, period, customers)
    async with _reaching_temporal(desk):
        handle = await start_settlement_run(
            desk.temporal, desk.terms.run(period, customers or None)
        )
    if not customers:
        async with desk.database.begin(access.scope) as tx:
            await settlement.announce_run(tx, period)
    return handle


async def _settled_again(tx: Transaction, period: str, customers: Sequence[str]) -> int:
    """How many of those that failed a run would settle again; one that is under way goes on."""
    run = await settlement.run(tx, period)
    if not customers and run is not None and run.finished_at is None:
        return 0
    failed = [each.customer_id for each in await settlement.unsettled(tx, period)]
    return len(failed if not customers else set(failed) & set(customers))


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
    async with desk.database.statements(access.scope) as tx:
        await audit.append(tx, Entry(who, what, Noun.SETTLEMENT, id_, wanted.customer_id))


async def require_over(desk: Desk, period: str) -> None:
    """Raises `PeriodOpen` while the month lasts, in UTC; a customer's own clock may go behind."""
    async with desk.database.read(SYSTEM) as tx:
        Period.parse(period).require_over(await clock.now(tx), "UTC")


@dataclass(frozen=True)
class RunStanding:
    """How a run stands. `progress` is None while no worker answers; `is_over`: with everybody."""

    running: bool
    is_over: bool
    progress: Progress | None


async def run_standing(desk: Desk, period: str, part: str | None) -> RunStanding:
    """How the month's run stands, or that of some customers. Raises `NotFound`."""
    id_ = part_workflow_id(period, part)
    handle: WorkflowHandle[SettlementRun, Progress] = desk.temporal.get_workflow_handle(id_)
    try:
        async with _reaching_temporal(desk):
            status = (await handle.describe()).status
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise NotFound(f"There was no run for {period}.") from error
        raise
    running = status is WorkflowExecutionStatus.RUNNING
    is_over = status is WorkflowExecutionStatus.COMPLETED
    return RunStanding(running, is_over, await progress(handle))


async def progress(handle: WorkflowHandle[SettlementRun, Progress]) -> Progress | None:
    """How far a run is; None while no worker answers: the run waits for one."""
    try:
        return await handle.query(SettlementRun.progress, rpc_timeout=_QUERY_TIMEOUT)
    except RPCError:
        return None


async def replay_failed(desk: Desk, access: Access, period: str) -> tuple[Failure, ...]:
    """Start a run of the customers whose settlement failed; returns which. Of very many it takes
    the first ones: ask again for the rest. Raises what `agreed_to_replay` raises."""
    await require_over(desk, period)
    failures = (await report(desk, period)).failures[:REPLAYED_AT_ONCE]
    await agreed_to_replay(desk, access, period, len(failures))
    if failures:
        names = [each.customer_id for each in failures]
        await _note_run(desk, access, Action.SETTLEMENT_RUN_REPLAYED, period, names)
        async with _reaching_temporal(desk):
            await start_settlement_run(desk.temporal, desk.terms.run(period, names))
    return failures


async def agreed_to_replay(
    desk: Desk,
    access: Access,
    period: str,
    failed: int,
    customers: Sequence[str] = (),
) -> None:
    """Before so many months that failed are settled again, all or those that were named: raises
    `SecondPersonNeeded` where they are too many for one person. Once agreed to, it holds until the
    proposal's time is over: a replay that was interrupted is asked for again."""
    wanted = desk.terms.second.replay(period, failed, customers)
    if wanted is None:
        return
    async with desk.database.begin(access.scope) as tx:
        agreed = await proposal.decided(tx, desk, access, wanted)
    proposal.carried_out(agreed)


@dataclass(frozen=True)
class MonthStanding:
    """How the settlement of a customer's month stands."""

    customer_id: str
    status: SettlementStatus
    reason: str | None


async def listed(
    desk: Desk, access: Access, wanted: Wanted, place: Place | None, limit: int
) -> Page[RecordedSettlement]:
    """How settlements stand, below a place, the last month first: as their rows say it, without a
    look at what runs now."""
    async with desk.database.read(access.scope) as tx:
        found = await settlement.listed(tx, wanted, place, limit)
    await looked_through(desk, access, Noun.SETTLEMENT, wanted.customer_id)
    return found


async def month_standing(desk: Desk, period: str, customer_id: str) -> MonthStanding:
    """How the settlement of a customer's month stands now; raises `NotFound` when nobody has ever
    tried it. What its row says of an earlier one does not count while another one runs."""
    found = await standing(desk, period, customer_id)
    waits = found is not None and found.status in WAITING
    if not waits and await _is_running(desk, settlement_workflow_id(customer_id, period)):
        return MonthStanding(customer_id, SettlementStatus.RUNNING, None)
    # Read again: it may have ended since.
    found = await standing(desk, period, customer_id)
    if found is None:
        raise NotFound(f"{period} of {customer_id} was never settled.")
    return found


async def _is_running(desk: Desk, workflow_id: str) -> bool:
    try:
        async with _reaching_temporal(desk):
            described = await desk.temporal.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return described.status is WorkflowExecutionStatus.RUNNING


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
    seen = await _look(desk, access.scope, customer_id, period)
    Period.parse(period).require_over(seen.now, seen.time_zone)
    if seen.is_issued:
        found = await _of_month(desk, access.scope, customer_id, period)
        return SettledMonth(SettlementStatus.SETTLED, found, before=True)
    request = desk.terms.settlement(customer_id, period)
    await _note_month(desk, access, request)
    async with _reaching_temporal(desk):
        owner = await start_settlement(desk.temporal, request)
    return await _outcome(desk, request, owner)


async def _outcome(
    desk: Desk,
    request: SettlementRequest,
    owner: WorkflowHandle[MonthlySettlement, SettlementOutcome],
) -> SettledMonth:
    """Wait until the settlement has ended or waits for a person, then shortly for the charge."""
    customer_id, period = request.customer_id, request.period
    ends_at = time.monotonic() + desk.wait_seconds
    ending = asyncio.create_task(_ended(owner))
    charging = asyncio.create_task(_charged(desk, ending))
    try:
        while True:
            await _next_look(charging, ends_at)
            # The invoice is looked at after what proves that it is there, numbered.
            status = ending.result().status if ending.done() else SettlementStatus.RUNNING
            seen = await _look(desk, SYSTEM, customer_id, period)
            if seen.status is InvoiceStatus.AWAITING_APPROVAL:
                status = SettlementStatus.AWAITING_APPROVAL
            over = status is not SettlementStatus.RUNNING and not seen.is_being_charged
            if over or time.monotonic() > ends_at:
                break
    finally:
        charging.cancel()
        ending.cancel()
    if status is SettlementStatus.FAILED:
        raise SettlementFailed(ending.result().reason or "It failed.")
    if status in (SettlementStatus.SKIPPED, SettlementStatus.REJECTED):
        return SettledMonth(status, None)
    found = await _of_month(desk, SYSTEM, customer_id, period)
    waits = found is not None and found.invoice.status is InvoiceStatus.AWAITING_APPROVAL
    if status is SettlementStatus.AWAITING_APPROVAL and not waits:
        status = SettlementStatus.RUNNING  # Somebody has decided since we looked.
    return SettledMonth(status, found)


async def _next_look(end: "asyncio.Task[None]", ends_at: float) -> None:
    """When the end has come, or a little later; once it has, only later."""
    seconds = max(0, min(LOOK_SECONDS, ends_at - time.monotonic()))
    if end.done():
        await asyncio.sleep(seconds)
    else:
        await asyncio.wait({end}, timeout=seconds)


async def _charged(desk: Desk, ending: "asyncio.Task[SettlementOutcome]") -> None:
    """Until the invoice's owner has ended, too. Where that cannot be asked, or waits for the next
    step of its ladder, the row tells."""
    outcome = await asyncio.shield(ending)
    if outcome.status is SettlementStatus.SETTLED and outcome.invoice_id is not None:
        owner = desk.temporal.get_workflow_handle(invoice_workflow_id(outcome.invoice_id))
        with suppress(WorkflowFailureError, RPCError):
            await owner.result()


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


async def _look(desk: Desk, scope: Scope, customer_id: str, period: str) -> SeenMonth:
    """Raises `NotFound` when there is no such customer."""
    async with desk.database.statements(scope) as tx:
        seen = await month.look(tx, customer_id, period)
    if seen is None:
        raise NotFound(f"There is no customer {customer_id}.")
    return seen


async def _of_month(
    desk: Desk, scope: Scope, customer_id: str, period: str
) -> InvoiceRecord | None:
    async with desk.database.read(scope) as tx:
        row = await invoice.of_month(tx, customer_id, period)
        return None if row is None else await invoices.record(tx, row)


@asynccontextmanager
async def _reaching_temporal(desk: Desk) -> AsyncIterator[None]:
    try:
        # A dead Temporal holds a call much longer than a caller waits.
        async with asyncio.timeout(desk.wait_seconds + 1):
            yield
    except RuntimeError as error:
        raise TemporalUnreachable(str(error)) from error
