"""Probes and metrics."""

from typing import cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from api.context import Unbounded
from runtime.figures import FigureReader
from runtime.metrics import MEDIA_TYPE, rendered
from service import health

router = APIRouter(tags=["operations"])


@router.get("/health/live", response_class=PlainTextResponse)
async def live() -> str:
    """The process runs."""
    return "live"


@router.get("/health/ready", response_class=PlainTextResponse)
async def ready(context: Unbounded) -> str:
    """The database answers. Temporal may be down: payments are then accepted with 202."""
    await health.ready(context.desk.database)
    return "ready"


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus: what this process counts, and the figures of the database if it reads them."""
    reader = cast(FigureReader, request.app.state.figures)
    return Response(rendered(reader), media_type=MEDIA_TYPE)
