"""Idempotency-Key: what happens when the same request comes twice.

Semantics of the IETF draft: no key 400; same key with another request 422; not final yet → the
repeat waits as long as the first caller does, then 409; final → the stored answer, byte for byte,
with `Idempotency-Replayed: true`.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from prometheus_client import Counter
from pydantic import BaseModel

from api import source
from api.access import may
from api.context import Context
from api.errors import problem
from api.fields import rendered
from api.parameters import Key, Traceparent
from domain.access import Access
from domain.errors import KeyMissing, KeyReused, RequestInProgress
from domain.event import Origin
from domain.identifier import IDEMPOTENCY_KEY, has_form
from domain.roles import Action
from service.call import Answer, Call, keep
from store.idempotency import Claim, StoredAnswer

T = TypeVar("T")


class Outcome(StrEnum):
    """What became of a request with a key."""

    FIRST = "first"
    REPLAYED_CACHE = "replayed_cache"
    """Answered again, by Valkey."""
    REPLAYED_DB = "replayed_db"
    """Answered again, by the database."""
    CONFLICT = "conflict"
    """The first one is not final yet."""
    MISMATCH = "mismatch"
    """The key came with another request before."""


REQUESTS = Counter(
    "billing_idempotency_requests", "Requests with an Idempotency-Key that got in.", ["outcome"]
)
for each in Outcome:
    REQUESTS.labels(each)


def keyed(action: Action) -> Any:
    """For a route that is called with a key: `Annotated[Call, keyed(Action.ORDER_CREATE)]`."""

    async def keyed_call(
        request: Request,
        access: Annotated[Access, may(action)],
        key: Key = None,
        traceparent: Traceparent = None,
    ) -> Call:
        value = _bare(key)
        claim = Claim(access.caller, f"POST {request.url.path}", value, request.state.body_hash)
        return Call(access, claim, Origin(value, source.traceparent(traceparent)))

    return Depends(keyed_call)


def install(app: FastAPI) -> None:
    """Count the keys that come with another request, wherever that is seen."""
    app.add_exception_handler(KeyReused, _reused)


async def _reused(request: Request, error: Exception) -> Response:
    assert isinstance(error, KeyReused)
    REQUESTS.labels(Outcome.MISMATCH).inc()
    return problem(error, request.url.path)


def _bare(key: str | None) -> str:
    if key and len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key:
        raise KeyMissing("Send an Idempotency-Key header, a new one for each new request.")
    if not has_form(key, IDEMPOTENCY_KEY):
        raise KeyMissing("An Idempotency-Key is 1 to 255 visible ASCII characters.")
    return key


async def cached(context: Context, call: Call) -> Response | None:
    """The answer that was given before, if Valkey has it: no database is asked."""
    stored = await context.replays.get(call.claim, call.access.scope)
    return None if stored is None else _replay(stored, Outcome.REPLAYED_CACHE)


async def answer(
    context: Context,
    call: Call,
    answered: Answer[T] | StoredAnswer,
    document: Callable[[T], BaseModel],
    location: str | None = None,
    status: int = 201,
) -> Response:
    """What the caller gets: a final answer is stored and given again to every repeat, byte for
    byte; 202 until there is one. `location`: with a place for the resource's id."""
    if isinstance(answered, StoredAnswer):
        return await _again(context, call, answered)
    where = None if location is None else location.format(answered.resource_id)
    body = rendered(document(answered.value))
    if answered.final:
        kept = await keep(context.desk, call, StoredAnswer(status, body))
        if answered.repeated:
            return await _again(context, call, kept)
        REQUESTS.labels(Outcome.FIRST).inc()
        await context.replays.put(call.claim, call.access.scope, kept)
        return _respond(kept, where)
    if answered.repeated:
        REQUESTS.labels(Outcome.CONFLICT).inc()
        raise InProgress(where)
    REQUESTS.labels(Outcome.FIRST).inc()
    return _respond(StoredAnswer(202, body), where)


async def _again(context: Context, call: Call, stored: StoredAnswer) -> Response:
    await context.replays.put(call.claim, call.access.scope, stored)
    return _replay(stored, Outcome.REPLAYED_DB)


def _respond(answer: StoredAnswer, location: str | None = None) -> Response:
    """The first answer to a request."""
    headers = {} if location is None else {"Location": location}
    return _response(answer, headers)


def _replay(answer: StoredAnswer, outcome: Outcome) -> Response:
    """The same answer again."""
    REQUESTS.labels(outcome).inc()
    return _response(answer, {"Idempotency-Replayed": "true"})


def _response(answer: StoredAnswer, headers: dict[str, str]) -> Response:
    return Response(answer.body, answer.status, headers, media_type="application/json")


class InProgress(RequestInProgress):
    """409 with where to look and when to come back."""

    def __init__(self, location: str | None) -> None:
        super().__init__("The first request is still being worked on; ask its Location.")
        self.headers = {"Retry-After": "1"} | ({"Location": location} if location else {})
