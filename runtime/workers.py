"""The worker process: which workflows and activities run on which task queue.

Where a version is given its workflows are pinned to it, or go to the current one, by their task
queue: `docs/decisions/0061-a-payment-ends-where-it-began.md` says which and why.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    Interceptor,
    PollerBehaviorAutoscaling,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
    WorkflowRunner,
)

from activities.coupon import CouponActivities
from activities.dead_letter import DeadLetterActivities
from activities.gateway import GatewayActivities
from activities.hurry import HurryActivities
from activities.inventory import InventoryActivities
from activities.invoice import InvoiceActivities
from activities.order import OrderActivities
from activities.outbox import OutboxActivities
from activities.payment import PaymentActivities
from activities.points import PointsActivities
from activities.refund import RefundActivities
from activities.rejections import RejectionInterceptor
from activities.review import ReviewActivities
from activities.settlement import SettlementActivities
from activities.settlement_run import SettlementRunActivities
from activities.verification import VerificationActivities
from activities.wallet import WalletActivities
from domain.verification import Report
from gateway.client import PaymentGateway
from runtime.logs import LogContextInterceptor
from runtime.settings import Settings
from store.database import Database
from store.key_ring import NO_KEYS, KeyRing
from workflows import policies
from workflows.dead_letter_job import DeadLetterJob
from workflows.gateway_hurry import GatewayHurry
from workflows.invoice_retry import InvoiceRetry
from workflows.monthly_settlement import MonthlySettlement
from workflows.outbox_relay import OutboxRelay
from workflows.payment_saga import PaymentSaga
from workflows.refund_saga import RefundSaga
from workflows.settlement_run import SettlementRun
from workflows.settlement_schedule import ScheduledSettlement
from workflows.verification import Verification

STICKY = timedelta(seconds=2)
"""How soon a dead worker's workflows go to another."""

GRACE = timedelta(seconds=10)
"""How long activities may still run when a worker is told to stop, if they call no gateway."""

PAYMENTS = (PaymentSaga, RefundSaga, GatewayHurry)
SETTLEMENT = (MonthlySettlement, InvoiceRetry, SettlementRun, ScheduledSettlement, DeadLetterJob)
OUTBOX = (OutboxRelay,)
VERIFICATION = (Verification,)
WORKFLOWS = (*PAYMENTS, *SETTLEMENT, *OUTBOX, *VERIFICATION)
"""All that this code can go on with, by task queue."""


def payments_worker(
    client: Client,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    runner: WorkflowRunner | None = None,
    interceptors: tuple[Interceptor, ...] = (),
    keys: KeyRing = NO_KEYS,
    version: WorkerDeploymentVersion | None = None,
    grace: timedelta = GRACE,
    workflows: Sequence[type] = PAYMENTS,
) -> Worker:
    """Real time: PaymentSaga and RefundSaga with all that they call, pinned to their version, and
    who hurries them.

    `grace`: how long a call to a gateway may take (`runtime.gateways.longest_call`). Cut off when
    the worker is told to stop, it would make a payment UNKNOWN.

    The default runner has no sandbox, which costs a third of the throughput; tests run with it.
    """
    coupon = CouponActivities(database)
    order = OrderActivities(database)
    inventory = InventoryActivities(database)
    wallet = WalletActivities(database)
    points = PointsActivities(database)
    payment = PaymentActivities(database)
    refund = RefundActivities(database)
    review = ReviewActivities(database)
    gateway = GatewayActivities(gateways, keys)
    hurry = HurryActivities(database)
    return Worker(
        client,
        task_queue=policies.PAYMENTS,
        workflows=workflows,
        activities=[
            coupon.use,
            coupon.restore,
            order.apply_coupon,
            order.remove_coupon,
            inventory.reserve,
            inventory.restore,
            wallet.hold,
            wallet.release,
            points.deduct,
            points.give_back,
            payment.open,
            payment.set_aside,
            payment.mark,
            payment.complete,
            payment.fail,
            payment.record_late_capture,
            payment.end_watch,
            refund.open,
            refund.mark,
            refund.complete,
            refund.fail,
            review.close,
            gateway.charge,
            gateway.authorize,
            gateway.capture,
            gateway.void,
            gateway.refund,
            gateway.inquire,
            hurry.next,
        ],
        workflow_runner=runner or UnsandboxedWorkflowRunner(),
        interceptors=[LogContextInterceptor(), RejectionInterceptor(), *interceptors],
        max_cached_workflows=2_000,
        sticky_queue_schedule_to_start_timeout=STICKY,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        graceful_shutdown_timeout=grace,
        deployment_config=_deployment(version, VersioningBehavior.PINNED),
    )


def settlement_worker(
    client: Client,
    database: Database,
    runner: WorkflowRunner | None = None,
    interceptors: tuple[Interceptor, ...] = (),
    version: WorkerDeploymentVersion | None = None,
) -> Worker:
    """Batch: months, invoices, jobs over dead letters, on a queue of their own so that they never
    delay a payment."""
    settlement = SettlementActivities(database)
    settlement_run = SettlementRunActivities(database)
    invoice = InvoiceActivities(database)
    dead_letters = DeadLetterActivities(database)
    return Worker(
        client,
        task_queue=policies.SETTLEMENT,
        workflows=SETTLEMENT,
        activities=[
            settlement.draft,
            settlement.issue,
            settlement.reject,
            settlement.note,
            settlement.record,
            settlement_run.begin,
            settlement_run.end,
            settlement_run.next_customers,
            settlement_run.ended_among,
            settlement_run.leave_behind,
            invoice.open,
            invoice.open_payment,
            invoice.payment_outcome,
            invoice.note,
            invoice.overdue,
            invoice.close,
            dead_letters.next,
            dead_letters.decide,
        ],
        workflow_runner=runner or UnsandboxedWorkflowRunner(),
        interceptors=[LogContextInterceptor(), RejectionInterceptor(), *interceptors],
        max_cached_workflows=2_000,
        sticky_queue_schedule_to_start_timeout=STICKY,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        graceful_shutdown_timeout=GRACE,
        deployment_config=_deployment(version, VersioningBehavior.AUTO_UPGRADE),
    )


def outbox_worker(
    client: Client,
    database: Database,
    kafka: Mapping[str, str],
    version: WorkerDeploymentVersion | None = None,
) -> Worker:
    """The relay: one long activity, in one of all workers."""
    outbox = OutboxActivities(database, kafka)
    return Worker(
        client,
        task_queue=policies.OUTBOX,
        workflows=OUTBOX,
        activities=[outbox.relay],
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[LogContextInterceptor()],
        max_concurrent_activities=1,
        sticky_queue_schedule_to_start_timeout=STICKY,
        deployment_config=_deployment(version, VersioningBehavior.AUTO_UPGRADE),
    )


def verification_worker(
    client: Client,
    verify: Callable[[], Awaitable[Report]],
    version: WorkerDeploymentVersion | None = None,
) -> Worker:
    """The hourly look at everything, one at a time, beside whatever else is under way."""
    verification = VerificationActivities(verify)
    return Worker(
        client,
        task_queue=policies.VERIFICATION,
        workflows=VERIFICATION,
        activities=[verification.verify],
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[LogContextInterceptor()],
        max_concurrent_activities=1,
        sticky_queue_schedule_to_start_timeout=STICKY,
        graceful_shutdown_timeout=GRACE,
        deployment_config=_deployment(version, VersioningBehavior.AUTO_UPGRADE),
    )


def version_of(settings: Settings) -> WorkerDeploymentVersion | None:
    """As what a worker asks for work, if its build has a name."""
    if settings.temporal_worker_build_id is None:
        return None
    name, build = settings.temporal_deployment_name, settings.temporal_worker_build_id
    return WorkerDeploymentVersion(name, build)


def _deployment(
    version: WorkerDeploymentVersion | None, behavior: VersioningBehavior
) -> WorkerDeploymentConfig | None:
    """Not in the workflows' own definitions: a worker without a version could not run those."""
    return None if version is None else WorkerDeploymentConfig(version, True, behavior)


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Run the workers for the length of the block; a worker that fails ends the block with it.

    At its end all are told to stop at once: one after another, the last ones would go on taking
    work while the first ones end theirs, and have no time left for it.
    """
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
        try:
            yield
        finally:
            await asyncio.gather(*[worker.shutdown() for worker in workers])
