"""Idempotency-Key: what happens when the same request comes twice.

Semantics of the IETF draft: no key 400; same key with another request 422; not final yet → the
repeat waits as long as the first caller does, then 409; final → the stored answer, byte for byte,
with `Idempotency-Replayed: true`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request, Response
from prometheus_client import Counter
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from api.access import Access, Anybody
from api.context import Context
from api.fields import Key, Traceparent
from domain.errors import KeyMissing, RequestInProgress
from domain.event import Origin
from domain.identifier import IDEMPOTENCY_KEY, TRACEPARENT, has_form
from runtime.temporal import is_down
from store import idempotency
from store.idempotency import Claim, Claimed, StoredAnswer

REPLAYS = Counter(
    "billing_idempotency_replays", "Answers given again for a repeated Idempotency-Key."
)

log = structlog.get_logger()


@dataclass(frozen=True)
class Keyed:
    """A request that carries a key: its claim, and what travels on with its events."""

    claim: Claim
    origin: Origin
    access: Access


async def _keyed(
    request: Request, access: Anybody, key: Key = None, traceparent: Traceparent = None
) -> Keyed:
    value = _bare(key)
    claim = Claim(access.caller, f"POST {request.url.path}", value, request.state.body_hash)
    trace = traceparent if has_form(traceparent, TRACEPARENT) else None
    return Keyed(claim, Origin(value, trace), access)


KeyedRequest = Annotated[Keyed, Depends(_keyed)]


def _bare(key: str | None) -> str:
    if key and len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key:
        raise KeyMissing("Send an Idempotency-Key header, a new one for each new request.")
    if not has_form(key, IDEMPOTENCY_KEY):
        raise KeyMissing("An Idempotency-Key is 1 to 255 visible ASCII characters.")
    return key


@dataclass(frozen=True)
class View:
    """A resource as it stands now: is it final, and what would be answered."""

    final: bool
    body: str


async def settle(
    context: Context,
    keyed: Keyed,
    claimed: Claimed,
    begin: Callable[[], Awaitable[WorkflowHandle[Any, Any]]],
    view: Callable[[], Awaitable[View]],
    location: str,
    status: int = 201,
) -> Response:
    """Begin what was claimed, wait for it, and answer: the same for the first caller and repeats.

    A claim that could not be handed to Temporal within the wait is answered 202: the sweeper
    starts it.
    """
    seen = await view() if claimed.repeated else None
    if seen is None or not seen.final:
        await _wait(begin, context.settings.api_wait_seconds)
        seen = await view()
    if seen.final:
        answer = await keep(context, keyed.claim, StoredAnswer(status, seen.body))
        return replay(answer) if claimed.repeated else respond(answer, location)
    if claimed.repeated:
        raise InProgress(location)
    return respond(StoredAnswer(202, seen.body), location)


async def _wait(begin: Callable[[], Awaitable[WorkflowHandle[Any, Any]]], seconds: float) -> None:
    """Wait for the workflow's end; that it was started and ended is read from its row."""
    try:
        async with asyncio.timeout(seconds):
            handle = await begin()
            await handle.result()
    except RPCError as error:
        # Also that it has closed before it could be cancelled: not found.
        if not is_down(error):
            log.error("Temporal refused a workflow", error=repr(error))
    except (TimeoutError, RuntimeError, WorkflowFailureError, WorkflowAlreadyStartedError):
        return


async def keep(context: Context, claim: Claim, answer: StoredAnswer) -> StoredAnswer:
    """Store a final answer; the first writer wins and everybody gets that one."""
    async with context.database.begin() as tx:
        kept = await idempotency.store_answer(tx, claim, answer)
    await context.replays.put(claim, kept)
    return kept


def respond(answer: StoredAnswer, location: str | None = None) -> Response:
    """The first answer to a request."""
    headers = {} if location is None else {"Location": location}
    return _response(answer, headers)


def replay(answer: StoredAnswer) -> Response:
    """The same answer again."""
    REPLAYS.inc()
    return _response(answer, {"Idempotency-Replayed": "true"})


def _response(answer: StoredAnswer, headers: dict[str, str]) -> Response:
    return Response(answer.body, answer.status, headers, media_type="application/json")


class InProgress(RequestInProgress):
    """409 with where to look and when to come back."""

    def __init__(self, location: str) -> None:
        super().__init__("The first request is still being worked on; ask its Location.")
        self.headers = {"Retry-After": "1", "Location": location}
