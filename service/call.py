"""A call: what somebody wants done once, however often it is asked for.

Semantics of the Idempotency-Key draft of the IETF: the same key with another request is refused;
not final yet, the repeat waits as long as the first caller does; final, the stored answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from domain.access import Access
from domain.event import Origin
from service.desk import Desk
from service.temporal import is_down
from store import idempotency
from store.idempotency import Claim, Claimed, StoredAnswer

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True)
class Call:
    """Who asks, under which key, and what travels on with the events of it."""

    access: Access
    claim: Claim
    origin: Origin


@dataclass(frozen=True)
class Seen(Generic[T]):
    """A thing as it stands now; `final`: it will stay so."""

    value: T
    final: bool


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What has become of a call. `repeated`: the key had come before."""

    resource_id: str
    value: T
    final: bool
    repeated: bool


async def followed(
    desk: Desk,
    claimed: Claimed,
    begin: Callable[[], Awaitable[WorkflowHandle[Any, Any]]],
    view: Callable[[], Awaitable[Seen[T]]],
) -> Answer[T]:
    """Begin what was claimed and wait for its end: the same for the first caller and repeats.

    What could not be handed to Temporal within the wait is started by the sweeper.
    """
    seen = await view() if claimed.repeated else None
    if seen is None or not seen.final:
        await _wait(begin, desk.wait_seconds)
        seen = await view()
    return Answer(claimed.resource_id, seen.value, seen.final, claimed.repeated)


async def _wait(begin: Callable[[], Awaitable[WorkflowHandle[Any, Any]]], seconds: float) -> None:
    """Wait for the workflow's end; that it was started and ended is read from its row."""
    try:
        async with asyncio.timeout(seconds):
            handle = await begin()
            await handle.result()
    except RPCError as error:
        # Also that it has closed before it could be cancelled: not found.
        if not is_down(error):
            log.error("Temporal refused a workflow", error=error)
    except (TimeoutError, RuntimeError, WorkflowFailureError):
        return


async def keep(desk: Desk, call: Call, answer: StoredAnswer) -> StoredAnswer:
    """Store a final answer; the first writer wins and everybody gets that one."""
    async with desk.database.statements(call.access.scope) as tx:
        return await idempotency.store_answer(tx, call.claim, answer)
