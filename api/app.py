"""The HTTP application: a thin client that claims, starts, waits and reads."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from html import escape
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.cors import CORSMiddleware

from api import (
    access,
    audit,
    auth,
    coupon,
    customer,
    dead_letter,
    description,
    errors,
    gateway,
    health,
    idempotency,
    inventory,
    invoice,
    key,
    order,
    payment,
    points,
    pricing,
    proposal,
    ranking,
    receivable,
    received_webhook,
    refund,
    review,
    settlement,
    status,
    story,
    usage,
    wallet,
    webhook,
)
from api.admission import Admission, Reads
from api.bodies import BodyLimit
from api.context import Context
from api.ended import Ended, Ongoing
from api.entrance import Entrance
from api.envelope import Envelope
from api.limits import AddressLimits, CallerLimits
from api.queries import OnlyKnown
from api.quota import Counters, Limiter
from api.replay_cache import ReplayCache
from api.security import SecurityHeaders
from api.traffic import Kind, Traffic
from domain.access import Access
from runtime import api_keys, connections, figures, memory, temporal, tracing
from runtime.desk import connected
from runtime.production import require_api, require_worker
from runtime.settings import Settings
from runtime.version import VERSION
from service.group_commit import GroupCommit
from service.key import Keys
from service.overload import Work
from store import database
from store.database import Database
from store.replica import ReplicatedDatabase

CALLS = (
    usage,
    payment,
    order,
    refund,
    wallet,
    points,
    coupon,
    inventory,
    ranking,
    pricing,
    receivable,
    settlement,
    invoice,
    customer,
    proposal,
    story,
    review,
    gateway,
    dead_letter,
    received_webhook,
    audit,
    auth,
    key,
    status,
)
"""Those that are called most often come first: a request is held against one after the other."""
LENIENT = (webhook, health)
"""Called by machines of others: a PG or a prober that adds query parameters of its own means
nothing by them, and its call must not be lost."""
TRACED: TelemetryConfig = {
    "metrics": False,
    "logs": False,
    "auto_configure": False,
    "operation_spans": False,
    "exclude": lambda scope: scope["path"].startswith(("/health/", "/metrics")),
}
"""A span for each request, where `runtime.tracing` sends them."""
STATIC = Path(__file__).parent / "static"


def create_app(settings: Settings, insider: Access | None = None) -> FastAPI:
    """The application; raises `ConfigurationError` where it may not run.

    `insider`: who runs it for themselves alone, in a process that nobody else can reach: no issuer
    is needed, and none is asked.
    """
    if insider is None:
        require_api(settings)
    else:
        require_worker(settings)
    issuers = settings.oidc_issuers if insider is None else ()
    entrance = Entrance(issuers, settings.trusted_proxies)
    lookups = database.connect(settings.database_url, connections.KEYS)
    keys = Keys(lookups, api_keys.ring(settings))
    counters = Counters(settings.redis_url, settings.quota_timeout_seconds)
    ended = Ended(settings.redis_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with tracing.sending(settings, "billing-api"), serving(app):
            yield

    @asynccontextmanager
    async def serving(app: FastAPI) -> AsyncIterator[None]:
        context = await _connect(settings)
        app.state.context = context
        reads = _reads(settings)
        app.state.reading = replace(context, desk=replace(context.desk, database=reads))
        lists = _lists(settings, reads)
        app.state.replicated = replace(context, desk=replace(context.desk, database=lists))
        lengthy = database.connect(
            settings.database_url, connections.LENGTHY, database.BATCH_SECONDS
        )
        app.state.lengthy = replace(context, desk=replace(context.desk, database=lengthy))
        # Temporal may be down when the API comes up: claims are answered 202 until it is back.
        preparing = asyncio.create_task(temporal.namespace_ready(context.desk.temporal))
        async with (
            entrance.open(),
            figures.reading(settings, context.desk.temporal) as app.state.figures,
        ):
            memory.freeze()
            yield
        preparing.cancel()
        await context.replays.close()
        await context.desk.reports.close()
        await counters.close()
        await ended.close()
        await keys.close()
        await lookups.dispose()
        await context.desk.database.dispose()
        await lists.dispose()
        await lengthy.dispose()

    app = FastAPI(
        title="durable-billing",
        version=VERSION,
        summary=description.SUMMARY,
        description=description.DESCRIPTION,
        contact=description.CONTACT,
        servers=description.SERVERS,
        openapi_tags=description.TAGS,
        generate_unique_id_function=description.operation_id,
        lifespan=lifespan,
        telemetry=TRACED,
        responses=errors.DESCRIBED,
        docs_url=None,
        redoc_url=None,
    )
    _add_calls(app)
    theirs = access.by_key_or(keys, entrance.identify)
    identify = theirs if insider is None else access.insider(insider)
    _bound(app, settings)
    if settings.own_alias is not None:
        app.add_middleware(Ongoing, ended=ended, alias=settings.own_alias)
    _guard(app, settings, counters, entrance, identify)
    _face_browsers(app, settings)
    _add_pages(app, settings)
    access.describe(
        app.openapi(), _calls(), access.TOKEN if settings.oidc_issuers else access.DEVELOPMENT
    )
    description.complete(app.openapi(), _calls())
    return app


def _add_calls(app: FastAPI) -> None:
    for part in CALLS:
        app.include_router(part.router, dependencies=[OnlyKnown])
    for part in LENIENT:
        app.include_router(part.router)
    errors.install(app)
    idempotency.install(app)


def _bound(app: FastAPI, settings: Settings) -> None:
    # What was added last meets a request first.
    app.add_middleware(BodyLimit)
    app.add_middleware(
        Admission,
        reads=Reads(settings.api_reads_at_once, settings.api_reads_waiting),
        # Half of the connections are for what was let in before.
        work=Work(settings.api_work_at_once, max(1, settings.database_pool_size // 2)),
    )


def _guard(
    app: FastAPI,
    settings: Settings,
    counters: Counters,
    entrance: Entrance,
    identify: access.Identify,
) -> None:
    _limit_callers(app, settings, counters)
    entrance.guard(app, identify)
    _limit_addresses(app, settings, counters)
    app.add_middleware(Envelope)


def _face_browsers(app: FastAPI, settings: Settings) -> None:
    app.add_middleware(SecurityHeaders, page=_swagger_page())
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "traceparent"],
            expose_headers=[
                *("Location", "Retry-After", "Idempotency-Replayed", "WWW-Authenticate"),
                *("RateLimit", "RateLimit-Policy"),
            ],
        )
    app.add_middleware(Traffic, kinds=list(_kinds()))


def _add_pages(app: FastAPI, settings: Settings) -> None:
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_api_route("/swagger", _swagger, include_in_schema=False)

    async def start_page() -> HTMLResponse:
        """Where a person who opens the address finds things."""
        return HTMLResponse(_start_page(settings.temporal_ui_url))

    app.add_api_route("/", start_page, include_in_schema=False)


def _calls() -> Iterator[APIRoute]:
    for part in CALLS:
        for route in part.router.routes:
            assert isinstance(route, APIRoute)
            yield route


def _kinds() -> Iterator[Kind]:
    for part in (*CALLS, *LENIENT):
        for route in part.router.routes:
            assert isinstance(route, APIRoute)
            yield from (Kind(method, route.path) for method in route.methods or ())


def _limit_callers(app: FastAPI, settings: Settings, counters: Counters) -> None:
    caller = settings.quota("caller")
    if caller is not None:
        app.add_middleware(CallerLimits, limiter=Limiter(counters, caller))


def _limit_addresses(app: FastAPI, settings: Settings, counters: Counters) -> None:
    address, administration = (
        None if quota is None else Limiter(counters, quota)
        for quota in map(settings.quota, ("address", "administration"))
    )
    if address is not None or administration is not None:
        app.add_middleware(
            AddressLimits,
            all_=address,
            administration=administration,
            trusted=settings.trusted_proxies,
        )


async def _connect(settings: Settings) -> Context:
    desk = await connected(
        settings,
        pool_size=settings.database_pool_size,
        wait_seconds=settings.api_wait_seconds,
    )
    return Context(
        settings,
        desk,
        ReplayCache(settings.redis_url, desk.keys),
        GroupCommit(desk.database, settings.usage_late),
    )


def _reads(settings: Settings) -> Database:
    """Connections that only reads use, one for each that is let in."""
    return database.connect(settings.database_url, settings.api_reads_at_once)


def _lists(settings: Settings, reads: Database) -> Database:
    """From where lists are read."""
    if settings.database_read_url is None:
        return reads
    copy = database.connect(settings.database_read_url, settings.api_reads_at_once)
    return ReplicatedDatabase(reads, copy, timedelta(seconds=settings.database_read_lag_seconds))


def _start_page(temporal_ui_url: str | None) -> str:
    pages = {"The HTTP API": "/swagger", "The Temporal UI: every workflow": temporal_ui_url}
    links = "".join(
        f'<li><a href="{escape(url)}">{name}</a></li>' for name, url in pages.items() if url
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>durable-billing</title>'
        f"</head><body><h1>durable-billing {VERSION}</h1><ul>{links}</ul></body></html>"
    )


async def _swagger() -> HTMLResponse:
    return HTMLResponse(_swagger_page())


def _swagger_page() -> str:
    """The OpenAPI page from vendored files, so that it opens without a network."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="durable-billing",
        swagger_js_url="/static/swagger-ui/swagger-ui-bundle.js",
        swagger_css_url="/static/swagger-ui/swagger-ui.css",
        swagger_favicon_url="/static/swagger-ui/favicon-32x32.png",
    )
    return bytes(page.body).decode()
