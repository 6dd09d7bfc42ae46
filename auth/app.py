"""Our own issuer of tokens: `billing auth`, a process of its own that is off unless configured.

What may be asked for with a token is answered by the API's own router, whose tokens are checked as
the API checks them: through `OIDC_ISSUERS`, discovery and the key set, ours like anybody's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import structlog
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.middleware.cors import CORSMiddleware

from api import auth as asking
from api import errors
from api.bodies import BodyLimit
from api.ended import AWAY, Ended, over
from api.envelope import Envelope
from api.issuers import IssuerUnreachable
from api.limits import AddressLimits
from api.queries import OnlyKnown
from api.quota import Counters, Limiter
from api.security import SecurityHeaders
from api.tokens import Tokens
from auth import device_page, login, oauth
from auth.attempts import Attempts
from auth.context import Context, source_of
from auth.devices import Devices
from auth.signing import Terms
from runtime import realm as realms
from runtime.production import require_auth
from runtime.settings import Settings
from runtime.version import VERSION
from service import session, signing_key
from service.password import Passwords
from service.realm import Realm
from store import database

EVERY_SECONDS = 600.0
"""How often it is looked whether a key is due and which sessions are long over."""

log = structlog.get_logger()


def create_app(settings: Settings) -> FastAPI:
    """The application; raises `ConfigurationError` where it may not run."""
    require_auth(settings)
    tokens = Tokens(settings.oidc_issuers, httpx2.AsyncClient())
    counters = Counters(settings.redis_url, settings.quota_timeout_seconds)
    quota = settings.quota("address")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = database.connect(settings.auth_database_url, settings.database_pool_size)
        context = _context(settings, realms.of(settings, pool))
        app.state.context = context
        duties = asyncio.create_task(_duties(context))
        yield
        duties.cancel()
        await asyncio.gather(duties, return_exceptions=True)
        await tokens.close()
        await counters.close()
        await context.attempts.close()
        await context.ended.close()
        await context.devices.close()
        await pool.dispose()

    app = FastAPI(
        title="durable-billing: log in",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=errors.DESCRIBED,
    )
    app.include_router(login.router, dependencies=[OnlyKnown])
    app.include_router(oauth.router)
    app.include_router(device_page.router)
    app.include_router(asking.router, dependencies=[OnlyKnown, Depends(_known(tokens))])
    app.add_api_route("/health/live", _live, response_class=PlainTextResponse)
    app.add_api_route("/health/ready", _ready, response_class=PlainTextResponse)
    errors.install(app)
    app.add_exception_handler(IssuerUnreachable, _unreachable)
    # What was added last meets a request first.
    app.add_middleware(BodyLimit)
    if quota is not None:
        app.add_middleware(
            AddressLimits,
            all_=Limiter(counters, quota),
            administration=None,
            trusted=settings.trusted_proxies,
        )
    app.add_middleware(Envelope)
    app.add_middleware(SecurityHeaders, page="")
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    return app


def _context(settings: Settings, realm: Realm) -> Context:
    assert settings.auth_issuer is not None, "nothing starts without it"
    return Context(
        realm,
        Terms(settings.auth_issuer, settings.auth_audience, settings.auth_token_seconds),
        frozenset(settings.auth_clients),
        settings.trusted_proxies,
        Passwords(),
        Attempts(settings.redis_url),
        Ended(settings.redis_url),
        Devices(settings.redis_url),
    )


def _known(tokens: Tokens) -> Callable[[Request], Awaitable[None]]:
    """Who asks, for routes that say what they let be done (`api.access.may`)."""

    async def known(request: Request) -> None:
        access = await tokens.identify(request.headers)
        context: Context = request.app.state.context
        if access.session_id and await _has_ended(context, access.session_id):
            raise over()
        request.state.access = replace(access, source=await source_of(request))

    return known


async def _has_ended(context: Context, session_id: str) -> bool:
    """Without Redis its tokens go on: nothing is changed by what they are told here."""
    try:
        return await context.ended.has(session_id)
    except AWAY:
        return False


async def _duties(context: Context) -> None:
    """Whatever happens: who cannot do it now, does it later."""
    while True:
        try:
            await context.passwords.start()
            await signing_key.ensure(context.realm)
            await session.forget(context.realm)
        except Exception as error:
            log.error("a duty of the issuer failed and starts again", exc_info=error)
            await asyncio.sleep(1)
        else:
            await asyncio.sleep(EVERY_SECONDS)


async def _live() -> str:
    """The process runs."""
    return "live"


async def _ready(request: Request) -> str:
    """The database answers, and there is a key to sign with."""
    context: Context = request.app.state.context
    await signing_key.signing(context.realm)
    return "ready"


async def _unreachable(request: Request, error: Exception) -> Response:
    return errors.issuer_unreachable(request.url.path)
