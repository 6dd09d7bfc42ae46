"""The worker process: which workflows and activities run on which task queue."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import (
    Interceptor,
    PollerBehaviorAutoscaling,
    UnsandboxedWorkflowRunner,
    Worker,
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
"""How long activities may still run when a worker is told to stop."""


def payments_worker(
    client: Client,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    runner: WorkflowRunner | None = None,
    interceptors: tuple[Interceptor, ...] = (),
    keys: KeyRing = NO_KEYS,
) -> Worker:
    """Real time: PaymentSaga and RefundSaga with all that they call, and who hurries them.

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
        workflows=[PaymentSaga, RefundSaga, GatewayHurry],
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
        graceful_shutdown_timeout=GRACE,
    )


def settlement_worker(
    client: Client,
    database: Database,
    runner: WorkflowRunner | None = None,
    interceptors: tuple[Interceptor, ...] = (),
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
        workflows=[
            MonthlySettlement,
            InvoiceRetry,
            SettlementRun,
            ScheduledSettlement,
            DeadLetterJob,
        ],
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
    )


def outbox_worker(client: Client, database: Database, kafka: Mapping[str, str]) -> Worker:
    """The relay: one long activity, in one of all workers."""
    outbox = OutboxActivities(database, kafka)
    return Worker(
        client,
        task_queue=policies.OUTBOX,
        workflows=[OutboxRelay],
        activities=[outbox.relay],
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[LogContextInterceptor()],
        max_concurrent_activities=1,
        sticky_queue_schedule_to_start_timeout=STICKY,
    )


def verification_worker(client: Client, verify: Callable[[], Awaitable[Report]]) -> Worker:
    """The hourly look at everything, one at a time, beside whatever else is under way."""
    verification = VerificationActivities(verify)
    return Worker(
        client,
        task_queue=policies.VERIFICATION,
        workflows=[Verification],
        activities=[verification.verify],
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[LogContextInterceptor()],
        max_concurrent_activities=1,
        sticky_queue_schedule_to_start_timeout=STICKY,
        graceful_shutdown_timeout=GRACE,
    )


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Run the workers for the length of the block; a worker that fails ends the block with it."""
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
        yield
