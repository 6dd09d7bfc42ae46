"""Whether anything is wrong now, as callers see it."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.fields import Document


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
