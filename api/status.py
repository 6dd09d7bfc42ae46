"""Is anything wrong now, on one page."""

from typing import Annotated

from fastapi import APIRouter

from api.access import may
from api.context import Using
from api.documents.status import (
    SystemGateway,
    SystemMoney,
    SystemPart,
    SystemPile,
    SystemQueue,
    SystemStatus,
)
from api.fields import utc
from domain import status
from domain.access import Access
from domain.roles import Action
from domain.status import Gateway, LastLook, Part, Pile, Status, TaskQueue
from runtime import parts
from runtime.version import VERSION
from service.status import look

router = APIRouter(tags=["operations"])


@router.get("/api/v1/status", response_model=SystemStatus)
async def get_status(
    access: Annotated[Access, may(Action.STATUS_READ)], context: Using
) -> SystemStatus:
    """Whether anything is wrong now. Every part is asked at once; one that does not answer is named
    as such, and keeps nobody waiting."""
    found = await look(context.desk, VERSION, parts.others(context.settings))
    return _status(found)


def _status(found: Status) -> SystemStatus:
    sentences = status.for_a_person(found)
    return SystemStatus(
        ok=not sentences,
        forAPerson=list(sentences),
        at=None if found.at is None else utc(found.at),
        parts=list(map(_part, found.parts)),
        queues=list(map(_queue, found.queues)),
        gateways=list(map(_gateway, found.gateways)),
        piles=list(map(_pile, found.piles)),
        money=None if found.money is None else _money(found.money),
    )


def _part(part: Part) -> SystemPart:
    return SystemPart(name=part.name, version=part.version, wrong=part.wrong)


def _queue(queue: TaskQueue) -> SystemQueue:
    return SystemQueue(
        name=queue.name,
        workers=list(queue.workers),
        waiting=queue.waiting,
        oldestSeconds=queue.oldest_seconds,
    )


def _gateway(gateway: Gateway) -> SystemGateway:
    return SystemGateway(
        name=gateway.name,
        state=gateway.state,
        since=None if gateway.since is None else utc(gateway.since),
        retriedAt=None if gateway.retried_at is None else utc(gateway.retried_at),
        waiting=gateway.waiting,
    )


def _pile(pile: Pile) -> SystemPile:
    return SystemPile(
        what=pile.what,
        count=pile.count,
        oldestSeconds=pile.oldest_seconds,
        forAPerson=pile.for_a_person,
        look=pile.look,
    )


def _money(money: LastLook) -> SystemMoney:
    return SystemMoney(at=utc(money.at), violations=money.violations)
