"""Handing an operator's decision to the workflow that waits for it."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from fastapi import Response
from sqlalchemy import Row
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from api.context import Context
from api.idempotency import Keyed, View, keep, replay, respond
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
        await context.temporal.get_workflow_handle(workflow_id).execute_update(
            "resolve",
            Resolution(decision, reason),
            id=hashlib.sha256(keyed.claim.key.encode()).hexdigest(),
            rpc_timeout=timedelta(seconds=context.settings.api_wait_seconds),
        )
    except WorkflowUpdateFailedError as refusal:
        if not claimed.repeated:
            raise NotInReview("Nothing is waiting for a decision.") from refusal
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        pass
    except RPCError as error:
        # A closed workflow has its outcome in the row; anything else is Temporal being down.
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    seen = await view()
    if not seen.final:
        return respond(StoredAnswer(202, seen.body), location)
    answer = await keep(context, keyed.claim, StoredAnswer(200, seen.body))
    return replay(answer) if claimed.repeated else respond(answer)
