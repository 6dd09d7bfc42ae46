"""What the Temporal UI asks to read a sealed history: `POST /decode`, for operators.

A process of its own (`billing codec-server`): only a page of the UI may ask it from a browser.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import orjson
import structlog
from fastapi import FastAPI, Header, Request, Response
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from starlette.middleware.cors import CORSMiddleware
from temporalio.api.common.v1 import Payload, Payloads

from api import access, errors
from api.access import may
from api.bodies import BodyLimit
from api.entrance import Entrance
from api.envelope import Envelope
from domain.access import Access
from domain.audit import Noun
from domain.errors import InvalidRequest
from domain.roles import Action
from runtime.codec import EncryptionCodec, is_sealed, workflow_of
from runtime.desk import connected
from runtime.production import require_api
from runtime.settings import Settings
from service.audit import viewed
from service.desk import Desk
from store.key_ring import Tampered, UnknownKey

CONNECTIONS = 4
"""To note who reads what; a look that is noted already is one read."""

log = structlog.get_logger()


def create_app(settings: Settings) -> FastAPI:
    """The application; raises `ConfigurationError` where it may not run."""
    require_api(settings)
    entrance = Entrance(settings.oidc_issuers, settings.trusted_proxies)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk = await connected(
            settings, pool_size=CONNECTIONS, wait_seconds=settings.api_wait_seconds
        )
        app.state.desk = desk
        async with entrance.open():
            yield
        await desk.database.dispose()

    app = FastAPI(
        title="durable-billing codec server", docs_url=None, redoc_url=None, lifespan=lifespan
    )
    errors.install(app)
    app.add_middleware(BodyLimit)
    entrance.guard(app, access.without_keys(entrance.identify))
    app.add_middleware(Envelope)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=_origins(settings.temporal_ui_url),
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
        """The same payloads, opened; one that cannot be opened says why in its place. Whose they
        are is noted before they are given."""
        desk: Desk = app.state.desk
        namespace = x_namespace or settings.temporal_namespace
        codec = EncryptionCodec(desk.keys, namespace)
        sealed = _payloads(await request.body())
        read = [await _opened(codec, each) for each in sealed.payloads]
        # Who asks names a namespace only; what was opened has proven whose history it is of.
        for whose in {each.workflow_id or namespace for each in read if each.was_sealed}:
            await viewed(desk, reader, Noun.WORKFLOW, whose, None)
        opened = Payloads(payloads=[each.payload for each in read])
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


@dataclass(frozen=True)
class _Read:
    """What stands in the place of a payload, and of which workflow it is where it was opened."""

    payload: Payload
    was_sealed: bool = False
    workflow_id: str = ""


async def _opened(codec: EncryptionCodec, payload: Payload) -> _Read:
    try:
        [opened] = await codec.decode([payload])
    except (UnknownKey, Tampered, UnicodeDecodeError) as error:
        why = orjson.dumps(str(error))
        return _Read(Payload(metadata={"encoding": b"json/plain"}, data=why))
    if not is_sealed(payload):
        return _Read(opened)
    return _Read(opened, True, workflow_of(payload))


def _origins(url: str | None) -> list[str]:
    """Of the Temporal UI; none where nobody has said where it is."""
    parts = urlsplit(url or "")
    return [f"{parts.scheme}://{parts.netloc}"] if url else []
