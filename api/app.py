"""The HTTP application: a thin client that claims, starts, waits and reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from html import escape
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from api import (
    coupon,
    customer,
    errors,
    health,
    inventory,
    invoice,
    key,
    order,
    payment,
    points,
    pricing,
    ranking,
    receivable,
    refund,
    settlement,
    usage,
    wallet,
    webhook,
)
from api.admission import Admission, Reads
from api.bodies import BodyLimit
from api.context import Context
from api.envelope import Envelope
from api.limits import AddressLimits, CallerLimits
from api.queries import OnlyKnown
from api.quota import Counters, Limiter
from api.replay_cache import ReplayCache
from runtime import api_keys, memory, temporal
from runtime.desk import connected
from runtime.settings import Settings, refuse_unless_dev
from runtime.version import VERSION
from service.group_commit import GroupCommit
from service.key import Keys
from service.overload import Work
from store import database
from store.database import Database

CALLS = (
    order,
    payment,
    refund,
    wallet,
    points,
    coupon,
    inventory,
    ranking,
    usage,
    pricing,
    receivable,
    settlement,
    invoice,
    customer,
    key,
)
LENIENT = (webhook, health)
"""Called by machines of others: a PG or a prober that adds query parameters of its own means
nothing by them, and its call must not be lost."""
STATIC = Path(__file__).parent / "static"


def create_app(settings: Settings) -> FastAPI:
    """The application; raises `ConfigurationError` where it may not run."""
    refuse_unless_dev(settings)
    counters = Counters(settings.redis_url, settings.quota_timeout_seconds)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        context = await _connect(settings)
        app.state.context = context
        reads = _reads(settings)
        app.state.reading = replace(context, desk=replace(context.desk, database=reads))
        # Temporal may be down when the API comes up: claims are answered 202 until it is back.
        preparing = asyncio.create_task(temporal.namespace_ready(context.desk.temporal))
        memory.freeze()
        yield
        preparing.cancel()
        await context.replays.close()
        await counters.close()
        await context.keys.close()
        await context.desk.database.dispose()
        await reads.dispose()

    app = FastAPI(
        title="durable-billing",
        version=VERSION,
        summary="Payments, orchestrated by Temporal: no amount is lost, doubled or stuck.",
        lifespan=lifespan,
        responses=errors.DESCRIBED,
        docs_url=None,
        redoc_url=None,
    )
    for part in CALLS:
        app.include_router(part.router, dependencies=[OnlyKnown])
    for part in LENIENT:
        app.include_router(part.router)
    errors.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(
        Admission,
        reads=Reads(settings.api_reads_at_once, settings.api_reads_waiting),
        # Half of the connections are for what was let in before.
        work=Work(settings.api_work_at_once, max(1, settings.database_pool_size // 2)),
    )
    _limit(app, settings, counters)
    app.add_middleware(Envelope)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_api_route("/swagger", _swagger, include_in_schema=False)

    async def entrance() -> HTMLResponse:
        """Where a person who opens the address finds things."""
        return HTMLResponse(_entrance(settings.temporal_ui_url))

    app.add_api_route("/", entrance, include_in_schema=False)
    return app


def _limit(app: FastAPI, settings: Settings, counters: Counters) -> None:
    """What was added last meets a request first: the address, who calls, the caller's quota, and
    then whether there is room."""

    def limiter(name: str) -> Limiter | None:
        quota = settings.quota(name)
        return None if quota is None else Limiter(counters, quota)

    caller, address, administration = map(limiter, ("caller", "address", "administration"))
    if caller is not None:
        app.add_middleware(CallerLimits, limiter=caller)
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
        ReplayCache(settings.redis_url),
        GroupCommit(desk.database, settings.usage_late),
        Keys(desk.database, api_keys.ring(settings)),
    )


def _reads(settings: Settings) -> Database:
    """Connections that only reads use, one for each that is let in."""
    return database.connect(settings.database_url, settings.api_reads_at_once)


def _entrance(temporal_ui_url: str) -> str:
    pages = {"The HTTP API": "/swagger", "The Temporal UI: every workflow": temporal_ui_url}
    links = "".join(
        f'<li><a href="{escape(url)}">{name}</a></li>' for name, url in pages.items() if url
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>durable-billing</title>'
        f"</head><body><h1>durable-billing {VERSION}</h1><ul>{links}</ul></body></html>"
    )


async def _swagger() -> HTMLResponse:
    """The OpenAPI page from vendored files, so that it opens without a network."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="durable-billing",
        swagger_js_url="/static/swagger-ui/swagger-ui-bundle.js",
        swagger_css_url="/static/swagger-ui/swagger-ui.css",
        swagger_favicon_url="/static/swagger-ui/favicon-32x32.png",
    )
