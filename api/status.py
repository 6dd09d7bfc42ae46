"""Is anything wrong now, on one page."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api.access import may
from api.context import Using
from api.fields import Document, utc
from domain import status
from domain.access import Access
from domain.roles import Action
from domain.status import Gateway, LastLook, Part, Pile, Status, TaskQueue
from runtime import parts
from runtime.version import VERSION
from service.status import look

router = APIRouter(tags=["operations"])


class SystemPart(Document):
    """A server, or a duty of the workers."""

    name: Annotated[str, Field(examples=["Kafka"])]
    version: Annotated[str | None, Field(description="As far as it tells.", examples=["3 brokers"])]
    wrong: Annotated[
        str | None,
        Field(
            description="What keeps it from its work; null while nothing does.",
            examples=["no answer within 1.5 s"],
        ),
    ]


class SystemQueue(Document):
    """A task queue of Temporal's, and who polls it. A worker that has gone without a word is still
    named for some minutes."""

    name: Annotated[str, Field(examples=["payments"])]
    workers: Annotated[list[str], Field(examples=[["4711@worker-1"]])]
    waiting: Annotated[int, Field(description="Tasks that nobody has taken up yet.")]
    oldest_seconds: Annotated[float, Field(description="How long the first of them has waited.")]


class SystemGateway(Document):
    """A PG, as workers have found it lately; `getGateways` tells more."""

    name: Annotated[str, Field(examples=["simulator"])]
    state: Annotated[str, Field(description="Of its circuit breaker.", examples=["CLOSED"])]
    since: Annotated[datetime | None, Field(description="Since when it is not well.")]
    retried_at: Annotated[datetime | None, Field(description="When a call is let through.")]
    waiting: Annotated[int, Field(description="Payments and refunds that wait for it.")]


class SystemPile(Document):
    """What waits."""

    what: Annotated[str, Field(examples=["invoices awaiting approval"])]
    count: int
    oldest_seconds: Annotated[
        float | None, Field(description="How long the first of them waits, where that is known.")
    ]
    for_a_person: Annotated[
        bool, Field(description="It goes on waiting until somebody does something.")
    ]
    look: Annotated[
        str, Field(description="The command that shows it.", examples=["billing review list"])
    ]


class SystemMoney(Document):
    """What the last verification came to."""

    at: datetime
    violations: int


class SystemStatus(Document):
    """Everything at a glance."""

    ok: Annotated[bool, Field(description="Nothing waits for a person.")]
    for_a_person: Annotated[
        list[str], Field(description="What somebody should do something about.")
    ]
    at: Annotated[
        datetime | None, Field(description="By the database's clock; null while it is silent.")
    ]
    parts: list[SystemPart]
    queues: list[SystemQueue]
    gateways: list[SystemGateway]
    piles: Annotated[
        list[SystemPile], Field(description="Without those of the database while that is silent.")
    ]
    money: Annotated[
        SystemMoney | None,
        Field(description="Null while nobody has looked yet, or Temporal does not answer."),
    ]


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
