"""The payment gateways: how they do, what waits for them, and asking them earlier."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Using
from api.documents.gateway import Gateway, GatewayQueue, Gateways, GatewayWorker, Hurried
from api.fields import Empty, utc
from domain.access import Access
from domain.gateway_health import HINTS_A_SECOND, Queue, Seen, Standing
from domain.identifier import NAME
from domain.roles import Action
from service import gateway

router = APIRouter(prefix="/api/v1/gateways", tags=["gateways"], route_class=StrictJSONRoute)

GatewayName = Annotated[
    str,
    Path(pattern=NAME.pattern, description="As listed.", examples=["simulator"]),
]


@router.get("")
async def list_gateways(_: Annotated[Access, may(Action.GATEWAY_READ)], context: Using) -> Gateways:
    """How each gateway does, worker by worker, and what waits for it."""
    return Gateways(gateways=[document(each) for each in await gateway.standings(context.desk)])


@router.post("/{name}/hurry")
async def hurry_gateway(
    name: GatewayName,
    access: Annotated[Access, may(Action.GATEWAY_HURRY)],
    context: Using,
    body: Empty | None = None,
) -> Hurried:
    """Have everything that waits for this gateway ask it now, instead of when it is due. Moves no
    money by itself, and is harmless to repeat. Workers do it by themselves when a gateway that was
    down answers again."""
    queue = await gateway.hurry(context.desk, access, name)
    return Hurried(name=name, waiting=_queue(queue), perSecond=HINTS_A_SECOND)


def document(found: Standing) -> Gateway:
    """A gateway as callers read it."""
    return Gateway(
        name=found.name,
        state=found.state,
        since=_when(found.since),
        retriedAt=_when(found.retried_at),
        failingSince=_when(found.failing_since),
        waiting=_queue(found.queue),
        workers=[_worker(each) for each in found.workers],
    )


def _queue(queue: Queue) -> GatewayQueue:
    return GatewayQueue(
        payments=queue.payments,
        refunds=queue.refunds,
        watches=queue.watches,
        since=_when(queue.since),
    )


def _worker(told: Seen) -> GatewayWorker:
    return GatewayWorker(
        worker=told.worker,
        state=told.state,
        since=_when(told.since),
        retriedAt=_when(told.retried_at),
        failingSince=_when(told.failing_since),
        reportedAt=utc(told.reported_at),
        underWay=told.under_way,
        calls=dict(told.calls),
        p50Seconds=told.p50,
        p95Seconds=told.p95,
    )


def _when(moment: datetime | None) -> datetime | None:
    return None if moment is None else utc(moment)
