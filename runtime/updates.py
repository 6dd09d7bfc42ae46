"""Handing an Update to the workflow that owns a thing, the same way from the API and the command
line."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

TRY_AGAIN_SECONDS = 0.1
ASK_AGAIN_SECONDS = 1.0
"""How long one call waits. Of an Update that meets the end of its workflow Temporal may never tell
what became of it; asked again, it says that the workflow has ended."""
_NOT_NOW = frozenset(
    {
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.ABORTED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
    }
)
"""What Temporal says when it did not hand the Update over this time: the workflow's task was lost
to a cancellation or to another Update, or too many are under way. Nothing is down."""


@dataclass(frozen=True)
class Update:
    """Sent twice under one id it is taken once, and answered twice."""

    workflow_id: str
    name: str
    argument: object
    id: str


class Delivery(Enum):
    """What became of an Update."""

    TAKEN = auto()
    """By the workflow, now or before."""
    LATE = auto()
    """Nobody took it within the time."""
    CLOSED = auto()
    """The workflow has ended, or there never was one."""


async def _nobody() -> bool:
    return False


async def deliver(
    client: Client,
    update: Update,
    seconds: float,
    start_owner: Callable[[], Awaitable[bool]] = _nobody,
) -> Delivery:
    """Hand it over within the time; `start_owner` may start another owner where one is gone.

    Raises `WorkflowUpdateFailedError` when the workflow refuses, and what a call raises while
    Temporal cannot be reached.
    """
    ends_at = time.monotonic() + seconds
    begins = False
    while True:
        try:
            left = max(ends_at - time.monotonic(), TRY_AGAIN_SECONDS)
            delivery = await _once(client, update, min(left, ASK_AGAIN_SECONDS))
            if delivery is Delivery.TAKEN or time.monotonic() > ends_at:
                return delivery
            continue
        except WorkflowUpdateFailedError:
            # An owner that begins refuses until it has read where the thing stands.
            if not begins or time.monotonic() > ends_at:
                raise
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                begins = not begins and await start_owner()
                if not begins:
                    return Delivery.CLOSED
                continue
            if error.status not in _NOT_NOW:
                raise
            if time.monotonic() > ends_at:
                return Delivery.LATE
        await asyncio.sleep(TRY_AGAIN_SECONDS)


async def _once(client: Client, update: Update, seconds: float) -> Delivery:
    handle = client.get_workflow_handle(update.workflow_id)
    try:
        await handle.execute_update(
            update.name,
            update.argument,
            id=update.id,
            rpc_timeout=timedelta(seconds=seconds),
        )
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        return Delivery.LATE
    return Delivery.TAKEN
