"""What the Temporal UI asks to read a sealed history: `POST /decode`, for operators.

A process of its own (`billing codec-server`): only a page of the UI may ask it from a browser.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from urllib.parse import urlsplit

import httpx2
import orjson
import structlog
from fastapi import FastAPI, Header, Request, Response
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from starlette.middleware.cors import CORSMiddleware
from temporalio.api.common.v1 import Payload, Payloads

from api import access, errors
from api.access import may
from api.bodies import BodyLimit
from api.envelope import Envelope
from api.tokens import Tokens
from domain.access import Access
from domain.errors import InvalidRequest
from domain.roles import Action
from runtime import keys
from runtime.codec import EncryptionCodec
from runtime.production import require_api
from runtime.settings import Settings
from store.key_ring import Tampered, UnknownKey

log = structlog.get_logger()


def create_app(settings: Settings) -> FastAPI:
    """The application; raises `ConfigurationError` where it may not run."""
    require_api(settings)
    ring = keys.ring(settings)
    tokens = Tokens(settings.oidc_issuers, httpx2.AsyncClient())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asking = asyncio.create_task(tokens.start())
        yield
        asking.cancel()
        await tokens.close()

    app = FastAPI(
        title="durable-billing codec server", docs_url=None, redoc_url=None, lifespan=lifespan
    )
    errors.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(
        access.Door,
        identify=access.without_keys(
            tokens.identify if settings.oidc_issuers else access.of_development
        ),
        trusted=settings.trusted_proxies,
    )
    app.add_middleware(Envelope)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[_origin(settings.temporal_ui_url)],
        allow_methods=["POST"],
        allow_headers=["Authorization", "Content-Type", "X-Namespace"],
        allow_credentials=True,
    )

    @app.post("/decode")
    async def decode(
        request: Request,
        reader: Annotated[Access, may(Action.HISTORY_READ)],
        x_namespace: Annotated[str, Header()] = "",
    ) -> Response:
        """The same payloads, opened; one that cannot be opened says why in its place."""
        codec = EncryptionCodec(ring, x_namespace or settings.temporal_namespace)
        sealed = _payloads(await request.body())
        opened = Payloads(payloads=[await _opened(codec, each) for each in sealed.payloads])
        log.info(
            "payloads were opened for an operator", id=reader.caller, messages=len(sealed.payloads)
        )
        return Response(MessageToJson(opened, indent=None), media_type="application/json")

    return app


def _payloads(body: bytes) -> Payloads:
    try:
        return Parse(body, Payloads())
    except (ParseError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The body is no list of payloads as Temporal sends it.") from None


async def _opened(codec: EncryptionCodec, payload: Payload) -> Payload:
    try:
        [opened] = await codec.decode([payload])
    except (UnknownKey, Tampered, UnicodeDecodeError) as error:
        return Payload(metadata={"encoding": b"json/plain"}, data=orjson.dumps(str(error)))
    return opened


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
