"""Handing an operator's decision to the workflow that waits for it."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from fastapi import Response
from sqlalchemy import Row
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from api.context import Context
from api.idempotency import InProgress, Keyed, View, keep, replay, respond
from domain.errors import NotInReview
from domain.review import Decision, Resolution
from store import idempotency
from store.idempotency import StoredAnswer


async def decide(
    context: Context,
    keyed: Keyed,
    row: Row[Any],
    *,
    workflow_id: str,
    decision: Decision,
    reason: str,
    view: Callable[[], Awaitable[View]],
    location: str,
) -> Response:
    """Send the decision as an Update whose id is the key: sent twice, it is taken once.

    Raises `NotInReview` when nothing waits. Without a worker the Update is answered 202.
    """
    async with context.database.begin() as tx:
        claimed = await idempotency.claim(tx, keyed.claim, row.id)
        if claimed.answer is not None:
            return replay(claimed.answer)
        if not claimed.repeated and row.status != "NEEDS_REVIEW":
            raise NotInReview(f"It is {row.status}.")
    try:
        await _update(context, workflow_id, keyed.claim.key, Resolution(decision, reason))
    except WorkflowUpdateFailedError as refusal:
        if not claimed.repeated:
            raise NotInReview("Nothing is waiting for a decision.") from refusal
    seen = await view()
    if not seen.final:
        if claimed.repeated:
            raise InProgress(location)
        return respond(StoredAnswer(202, seen.body), location)
    answer = await keep(context, keyed.claim, StoredAnswer(200, seen.body))
    return replay(answer) if claimed.repeated else respond(answer)


async def _update(context: Context, workflow_id: str, key: str, resolution: Resolution) -> None:
    """Returns when it is taken, when nobody takes it within the wait, or when the workflow has
    closed: its outcome is in the row. Raises when Temporal is down."""
    handle = context.temporal.get_workflow_handle(workflow_id)
    wait = context.settings.api_wait_seconds
    try:
        # A dead Temporal holds a call longer than its own time-out says.
        async with asyncio.timeout(wait + 1):
            await handle.execute_update(
                "resolve",
                resolution,
                id=hashlib.sha256(key.encode()).hexdigest(),
                rpc_timeout=timedelta(seconds=wait),
            )
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        return
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    except RuntimeError as error:
        raise ConnectionError(f"Temporal cannot be reached: {error}") from error
