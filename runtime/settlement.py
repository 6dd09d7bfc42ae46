"""Reports of settlement runs, and settling again what failed: for the API and the command line."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import FailureError

from domain.settlement import WAITING, SettlementOutcome, SettlementRequest, SettlementStatus
from domain.terms import Terms
from service.starts import start_settlement, start_settlement_run
from store import settlement
from store.database import Database

LOOK_SECONDS = 0.2
"""How often somebody who waits looks whether the settlement waits itself."""


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


async def report(database: Database, period: str) -> Report:
    """What became of a month so far."""
    async with database.connect() as tx:
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


async def replay_failed(
    client: Client, database: Database, period: str, terms: Terms
) -> tuple[Failure, ...]:
    """Start a run of the customers whose settlement failed; returns which. Of very many it takes
    the first ones: ask again for the rest."""
    failures = (await report(database, period)).failures[:REPLAYED_AT_ONCE]
    if failures:
        names = [each.customer_id for each in failures]
        await start_settlement_run(client, terms.run(period, names))
    return failures


@dataclass(frozen=True)
class Standing:
    """How the settlement of a customer's month stands."""

    customer_id: str
    status: SettlementStatus
    reason: str | None


async def standing(database: Database, period: str, customer_id: str) -> Standing | None:
    """None when nobody has ever tried to settle it."""
    async with database.connect() as tx:
        row = await settlement.find(tx, period, customer_id)
    if row is None:
        return None
    return Standing(customer_id, row.status, row.reason)


async def settle_again(client: Client, database: Database, request: SettlementRequest) -> Standing:
    """Settle a customer's month, or find the settlement that runs, and wait until it has ended or
    waits itself, for a person or for the end of its month."""
    handle = await start_settlement(client, request)
    ended = asyncio.ensure_future(handle.result())
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=LOOK_SECONDS)
            found = await standing(database, request.period, request.customer_id)
            if found is not None and found.status in WAITING:
                return found
        return await _end(database, request, ended)
    finally:
        ended.cancel()


async def _end(
    database: Database, request: SettlementRequest, ended: "asyncio.Future[SettlementOutcome]"
) -> Standing:
    try:
        outcome = ended.result()
    except WorkflowFailureError as error:
        cause = error.cause
        reason = cause.message if isinstance(cause, FailureError) else str(cause)
        return Standing(request.customer_id, SettlementStatus.FAILED, reason)
    return Standing(request.customer_id, outcome.status, outcome.reason)
