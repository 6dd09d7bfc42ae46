"""Who asks for too much in a while is refused before anything of it is done.

By address before it is known who calls, so that guesses cost little; then by caller. Not the same
as `api.admission`, which says that all together ask for too much at once (decision 50).
"""

from prometheus_client import Counter
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import OPEN
from api.address import Networks, client_address, counted_as
from api.errors import problem
from api.quota import Exceeded, Limiter, Standing, policy
from domain.quota import Cost

FREE_BELOW = ("/static/", "/health/")
"""Like `api.access.OPEN`: probes, metrics and pages are let in always. Everything else is counted,
also what is not there: a token or a key is looked at wherever it is sent."""
BATCHES = frozenset({"/api/v1/usage/batch"})
ADMINISTRATION = frozenset({"admin", "keys", "audit", "settlement", "pricing-plans"})
"""Parts of the API that few people use, and whose use changes what many pay or may do."""
WATCHED = frozenset({"settlement", "pricing-plans"})
"""Of these only changes count: whoever runs a month looks each second how far it is, and after it
at each of up to 5,000 customers."""
REPLAYED = (b"idempotency-replayed", b"true")
"""Such an answer has cost us a read only."""

REFUSED = Counter("billing_quota_refusals", "Requests of whoever asked for too much.", ["quota"])


def cost_of(scope: Scope) -> Cost:
    """What a request will make us do, as far as its first line says."""
    if scope["method"] in ("GET", "HEAD", "OPTIONS") or scope["path"].startswith("/webhooks/"):
        return Cost.READ
    return Cost.BATCH if scope["path"] in BATCHES else Cost.WRITE


def _administration(scope: Scope) -> str | None:
    """Which part of the administration it asks for."""
    part = "".join(scope["path"].split("/", 4)[3:4])
    looks = part in WATCHED and cost_of(scope) is Cost.READ
    return part if part in ADMINISTRATION and not looks else None


class AddressLimits:
    """ASGI middleware, before it is known who calls. None: no such limit."""

    def __init__(
        self, app: ASGIApp, all_: Limiter | None, administration: Limiter | None, trusted: Networks
    ) -> None:
        self._app = app
        self._all = all_
        self._administration = administration
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _is_limited(scope):
            try:
                await self._spend(scope)
            except Exceeded as refusal:
                await _refused(refusal, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _spend(self, scope: Scope) -> None:
        subject = counted_as(client_address(scope, self._trusted))
        if self._all is not None:
            await self._all.spend(subject, cost_of(scope))
        part = _administration(scope)
        if self._administration is not None and part is not None:
            await self._administration.spend(f"{subject} {part}", 1)


class CallerLimits:
    """ASGI middleware, once it is known who calls. An answer says what is left."""

    def __init__(self, app: ASGIApp, limiter: Limiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        access = scope.get("state", {}).get("access")
        if access is None or not _is_limited(scope):
            await self._app(scope, receive, send)
            return
        cost = cost_of(scope)
        try:
            standing = await self._limiter.spend(access.caller, cost)
        except Exceeded as refusal:
            await _refused(refusal, scope["path"])(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                if REPLAYED in headers:
                    self._limiter.give_back(access.caller, cost - Cost.READ)
                headers.extend(_headers(standing))
            await send(message)

        await self._app(scope, receive, told)


def _is_limited(scope: Scope) -> bool:
    path = scope.get("path", "")
    return scope["type"] == "http" and path not in OPEN and not path.startswith(FREE_BELOW)


def _headers(standing: Standing) -> list[tuple[bytes, bytes]]:
    quota = standing.quota
    left = f'"{quota.name}";r={standing.remaining};t={standing.resets_in}'
    return [(b"ratelimit-policy", policy(quota).encode()), (b"ratelimit", left.encode())]


def _refused(refusal: Exceeded, path: str) -> Response:
    REFUSED.labels(refusal.quota.name).inc()
    return problem(refusal, path, refusal.headers)
