"""Every time-out and retry policy of the workflows, on one screen.

No execution or run time-outs anywhere: they would end a payment without its undo.
"""

from datetime import timedelta

from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityConfig, LocalActivityConfig

PAYMENTS = "payments"
OUTBOX = "outbox"
SETTLEMENT = "settlement"
VERIFICATION = "verification"
"""Task queues."""

TASK_TIMEOUT = timedelta(seconds=5)
"""How soon a workflow goes on elsewhere whose worker died in the middle of a local step."""

FIRST = 1
"""Somebody waits for it."""
USUAL = 3


def turn(place: int, customer_id: str | None) -> Priority:
    """When what waits in a task queue is done: by its place, and of those in one place a customer
    gets its turn however much another has waiting. Temporal heeds it only with its setting
    `matching.enableFairness`; activities inherit it from their workflow."""
    return Priority(priority_key=place, fairness_key=customer_id)


_FOR_EVER = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    backoff_coefficient=2,
    maximum_interval=timedelta(seconds=60),
)
# TRY_CANCEL would let an undo overtake the step that it undoes.
_WHEN_DONE = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED


def step(summary: str) -> LocalActivityConfig:
    """A forward database step: one that cannot be done in its first second becomes a timer in the
    history, where it is seen. `summary` is what a person reads in the Temporal UI."""
    return LocalActivityConfig(
        start_to_close_timeout=timedelta(seconds=10),
        local_retry_threshold=timedelta(seconds=1),
        retry_policy=_FOR_EVER,
        cancellation_type=_WHEN_DONE,
        summary=summary,
    )


def batch_step(summary: str) -> LocalActivityConfig:
    """The same for work on a whole month of a customer, whose statements may take minutes
    (`store.database.BATCH_SECONDS`)."""
    return {**step(summary), "start_to_close_timeout": timedelta(minutes=10)}


def undo(summary: str) -> ActivityConfig:
    """A regular activity, so that the UI shows the attempt and last error of one that is stuck."""
    return ActivityConfig(
        start_to_close_timeout=timedelta(seconds=10),
        retry_policy=_FOR_EVER,
        cancellation_type=_WHEN_DONE,
        summary=summary,
    )


def longest_gateway_call(read_timeout: timedelta) -> timedelta:
    """How long a call to a PG may take that itself gives up after `read_timeout`, with all that
    comes before and after it."""
    return read_timeout + timedelta(seconds=10)


def gateway_call(summary: str, read_timeout: timedelta) -> ActivityConfig:
    """One call to a PG that itself gives up after `read_timeout`. One try: what a lost answer means
    is decided in the workflow, not by a retry policy."""
    return ActivityConfig(
        start_to_close_timeout=longest_gateway_call(read_timeout),
        heartbeat_timeout=timedelta(seconds=5),
        retry_policy=RetryPolicy(maximum_attempts=1),
        cancellation_type=_WHEN_DONE,
        summary=summary,
    )


RELAY_TURN = timedelta(days=1)
"""How long one relay activity publishes before its workflow continues as new: it is one line of the
Temporal UI, and what is tried again meanwhile makes no history longer."""
RELAY_HEARTBEAT = timedelta(seconds=5)


def relay(summary: str) -> ActivityConfig:
    """The long activity of the outbox; another worker takes over 5 s after its owner died, however
    many have died in its turn."""
    return ActivityConfig(
        start_to_close_timeout=RELAY_TURN + timedelta(hours=1),
        heartbeat_timeout=RELAY_HEARTBEAT,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=1)
        ),
        summary=summary,
    )


def verification(summary: str) -> ActivityConfig:
    """A look at everything, which may take minutes. After a few tries the next hour's is due."""
    return ActivityConfig(
        start_to_close_timeout=timedelta(minutes=50),
        heartbeat_timeout=timedelta(seconds=30),
        retry_policy=RetryPolicy(initial_interval=timedelta(seconds=10), maximum_attempts=5),
        summary=summary,
    )
