"""Is anything wrong now: every part asked at once, and none of them waited for."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue as Named
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    GetSystemInfoRequest,
)
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from domain.access import SYSTEM
from domain.gateway_health import BreakerState, Standing
from domain.invoice import InvoiceStatus
from domain.payment import PaymentStatus
from domain.settlement import SettlementStatus
from domain.status import AT_ONCE, Gateway, LastLook, Part, Pile, Status, TaskQueue
from domain.workflow_id import OUTBOX_WORKFLOW_ID
from service import deployment, gateway, health, verification
from service.asking import Answer, Silence, asked
from service.deployment import Stuck
from service.desk import Desk
from service.health import Figures
from store import dead_letter, invoice, leader, outbox, proposal, review, server
from store.database import Database, Transaction
from workflows import policies

SECONDS = 1.5
"""How long anybody may take who is asked."""
QUEUES = (policies.PAYMENTS, policies.SETTLEMENT, policies.OUTBOX, policies.VERIFICATION)
DUTIES = {
    health.READER: "no process reads the figures for Prometheus, so no alarm can sound",
    health.CONSUMERS: "no worker serves them, so what comes from Kafka waits",
}
"""What some process does, and what it means when none does."""
_TYPES = (
    TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
)

Ask = Callable[[], Awaitable[str]]
"""Asks a server that it answers; returns its version, or whatever else it says of itself."""


async def look(desk: Desk, version: str, others: Mapping[str, Ask]) -> Status:
    """Every part, whether or not it answers. `version` is that of this process; `others` are the
    servers beside PostgreSQL and Temporal, by name."""
    async with asyncio.TaskGroup() as asking:

        def ask(one: Awaitable[Answer]) -> asyncio.Task[Answer | Silence]:
            return asking.create_task(asked(one, SECONDS))

        database = ask(_database(desk.database))
        rows = ask(_rows(desk.database))
        temporal = ask(_version(desk.temporal))
        queues = ask(_queues(desk.temporal))
        relay = ask(_relay(desk.temporal))
        stuck = ask(deployment.stuck(desk.temporal))
        report = ask(verification.last(desk.temporal))
        gateways = ask(gateway.standings(desk))
        servers = {name: ask(one()) for name, one in others.items()}
    known, seen = _known(rows.result()), _known(report.result())
    return Status(
        at=None if known is None else known.at,
        parts=(
            Part("API", version),
            _part("PostgreSQL", database.result()),
            _part("Temporal", temporal.result()),
            *(_part(name, server.result()) for name, server in servers.items()),
            *filter(None, [_known(relay.result())]),
            *(() if known is None else known.duties),
            *_uncounted(database.result(), rows.result()),
        ),
        queues=_known(queues.result()) or (),
        gateways=tuple(map(_gateway, _known(gateways.result()) or ())),
        piles=(
            *(() if known is None else known.piles),
            *map(_stuck, filter(None, [_known(stuck.result())])),
        ),
        money=None if seen is None else LastLook(seen.at, seen.violations),
    )


def _known(said: Answer | Silence) -> Answer | None:
    return None if isinstance(said, Silence) else said


def _part(name: str, said: str | Silence) -> Part:
    return Part(name, wrong=said.why) if isinstance(said, Silence) else Part(name, said)


def _uncounted(version: str | Silence, rows: "_Rows | Silence") -> list[Part]:
    """Who answers and is slow is not down."""
    if isinstance(version, Silence) or not isinstance(rows, Silence):
        return []
    return [Part("what waits", wrong=f"cannot be counted: {rows.why}")]


def _gateway(found: Standing) -> Gateway:
    down = found.state in (BreakerState.OPEN, BreakerState.HALF_OPEN)
    waiting = found.queue.payments + found.queue.refunds
    return Gateway(found.name, found.state, down, found.since, found.retried_at, waiting)


def _stuck(found: Stuck) -> Pile:
    return Pile("workflows that cannot go on", found.total, None, "billing deploy stuck", True)


@dataclass(frozen=True)
class _Rows:
    """What the database knows."""

    at: datetime
    duties: tuple[Part, ...]
    piles: tuple[Pile, ...]


async def _database(database: Database) -> str:
    async with database.statements(SYSTEM) as tx:
        return await server.version(tx)


async def _rows(database: Database) -> _Rows:
    async with database.statements(SYSTEM) as tx:
        figures = await health.figures(tx)
        duties = [
            Part(name, wrong=None if await leader.is_led(tx, name) else nobody)
            for name, nobody in DUTIES.items()
        ]
        return _Rows(figures.at, tuple(duties), tuple(await _piles(tx, figures)))


async def _piles(tx: Transaction, figures: Figures) -> list[Pile]:
    proposals, proposed_at = await proposal.count_waiting(tx)

    def since(moment: datetime | None) -> float | None:
        return None if moment is None else (figures.at - moment).total_seconds()

    return [
        *_payments(figures),
        Pile(
            "reviews, and stock that could not be given back",
            sum(figures.reviews_waiting.values()) + figures.stock_in_review,
            since(await review.oldest_waiting(tx)),
            "billing review list",
            True,
        ),
        *_invoices(figures, since(await invoice.oldest_awaiting_approval(tx))),
        *_settlements(figures),
        Pile(
            "dead letters",
            sum(figures.dead_letters.values()),
            since(await dead_letter.oldest_open(tx)),
            "billing dead-letter list",
            True,
        ),
        Pile(
            "of them set aside by consumers",
            sum(figures.set_aside.values()),
            None,
            "billing dead-letter stats",
            False,
        ),
        Pile("proposals", proposals, since(proposed_at), "billing proposal list", True),
        *_outbox(figures, await outbox.count_waiting(tx)),
        Pile(
            "usage events in no month's partition",
            figures.unplaced,
            None,
            "billing doctor",
            True,
        ),
    ]


def _payments(figures: Figures) -> list[Pile]:
    unknown, in_review = (
        figures.open_payments.get(status, 0)
        for status in (PaymentStatus.UNKNOWN, PaymentStatus.NEEDS_REVIEW)
    )
    return [
        Pile(
            "payments UNKNOWN",
            unknown,
            figures.oldest_unknown_seconds or None,
            "billing payment list --status UNKNOWN",
            False,
        ),
        Pile(
            "payments in review",
            in_review,
            None,
            "billing review list",
            # Each of them has a review, which is told.
            False,
        ),
    ]


def _invoices(figures: Figures, oldest: float | None) -> list[Pile]:
    awaiting = figures.invoices.get((InvoiceStatus.AWAITING_APPROVAL, 0), 0)
    overdue = sum(count for (_, bucket), count in figures.invoices.items() if bucket)
    look = "billing invoice list --status"
    return [
        Pile("invoices awaiting approval", awaiting, oldest, f"{look} AWAITING_APPROVAL", True),
        Pile("invoices overdue", overdue, None, f"{look} OVERDUE", False),
    ]


def _settlements(figures: Figures) -> list[Pile]:
    return [
        Pile(
            f"settlements of the last run {status}",
            figures.unsettled.get(status, 0),
            None,
            f"billing settlement list --status {status}",
            status is SettlementStatus.FAILED,
        )
        for status in (SettlementStatus.FAILED, SettlementStatus.RUNNING)
    ]


def _outbox(figures: Figures, waiting: int) -> list[Pile]:
    oldest = figures.oldest_unpublished_seconds
    return [
        Pile(
            "events to publish",
            waiting,
            oldest if waiting else None,
            "billing doctor",
            oldest > AT_ONCE.total_seconds(),
        ),
        Pile("events that Kafka refuses", figures.refused, None, "billing doctor", True),
    ]


async def _version(client: Client) -> str:
    said = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    return said.server_version


async def _queues(client: Client) -> tuple[TaskQueue, ...]:
    return tuple(await asyncio.gather(*(_queue(client, name) for name in QUEUES)))


async def _queue(client: Client, name: str) -> TaskQueue:
    workflows, activities = await asyncio.gather(*(_described(client, name, _) for _ in _TYPES))
    stats = [each.stats for each in (workflows, activities)]
    return TaskQueue(
        name,
        tuple(sorted({each.identity for each in workflows.pollers})),
        sum(each.approximate_backlog_count for each in stats),
        max(each.approximate_backlog_age.ToTimedelta().total_seconds() for each in stats),
    )


async def _described(
    client: Client, name: str, type_: "TaskQueueType.ValueType"
) -> DescribeTaskQueueResponse:
    return await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=Named(name=name),
            task_queue_type=type_,
            report_stats=True,
        )
    )


async def _relay(client: Client) -> Part:
    """The one workflow that publishes all events; the sweeper of any worker of payments
    starts it."""
    try:
        described = await client.get_workflow_handle(OUTBOX_WORKFLOW_ID).describe()
        runs = described.status is WorkflowExecutionStatus.RUNNING
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        runs = False
    return Part("relay", wrong=None if runs else "it does not run, so no event is published")
