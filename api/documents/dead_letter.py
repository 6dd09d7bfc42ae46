"""Dead letters, and what is done about many of them, as callers see them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from api.fields import Document
from domain.dead_letter import (
    ItemState,
    JobState,
    LetterSource,
    LetterState,
    Operation,
)


class Encoding(StrEnum):
    TEXT = "text"
    BASE64 = "base64"


class Message(Document):
    """A dead letter in a list. `messageId` names it in every call: its place on a topic of dead
    letters, else its `id`; where brokers have begun their offsets anew, an `id` names an older
    one."""

    message_id: str
    id: str
    source: LetterSource
    dlt_topic: str | None
    original_topic: str | None
    partition: int | None
    offset: int | None
    key: Annotated[str | None, Field(description="Its beginning.")]
    reference: Annotated[str | None, Field(description="Of a thing of ours: its workflow.")]
    error_class: str
    failure_reason: str
    occurred_at: datetime
    payload_length: int | None
    customer_id: str | None
    retry_count: int
    state: LetterState
    state_reason: str | None
    state_by: str | None
    state_at: datetime | None


class Messages(Document):
    items: list[Message]
    next_cursor: str | None
    has_more: Annotated[bool, Field(description="Whether a page follows.")]
    size: int


class Header(Document):
    """`value` is text, or base64 of what is none."""

    name: str
    value: str | None
    value_encoding: Encoding


class MessageDetail(Message):
    """All of it."""

    payload: str | None
    payload_encoding: Encoding
    headers: list[Header]
    original_stacktrace: str | None
    original_consumer_group: str | None
    original_timestamp: datetime | None
    idempotency_key: str | None
    replay_of: Annotated[str | None, Field(description="The `id` of the letter that came back.")]
    job_id: str | None


class BulkResult(Document):
    """What many letters come to. `jobId` and `startedAt` are null where nothing is done."""

    mode: Literal["DRY_RUN", "EXECUTING"]
    estimated_count: int
    sample_message_ids: Annotated[list[str], Field(description="The oldest ones, 10 at most.")]
    job_id: str | None
    started_at: datetime | None


class BulkJob(Document):
    """How far a job is. `cameBackCount`: of the letters replayed since somebody last looked, how
    many have failed again; more than a fifth pauses the job."""

    job_id: str
    operation: Operation
    state: JobState
    state_reason: str | None
    reason: str | None
    started_by: str
    total_count: int
    processed_count: int
    success_count: int
    failure_count: int
    came_back_count: int
    started_at: datetime
    finished_at: datetime | None
    first_error: str | None


class BulkItem(Document):
    message_id: str
    id: str
    state: ItemState
    error: str | None
    done_at: datetime | None


class BulkItems(Document):
    items: list[BulkItem]
    next_cursor: str | None


class TimeBucket(Document):
    bucket_start: datetime
    count: int


class KeyCount(Document):
    key: str
    count: int


class Statistics(Document):
    """How many letters came. `from` is included, `to` is not."""

    since: Annotated[datetime, Field(alias="from")]
    until: Annotated[datetime, Field(alias="to")]
    bucket_duration: str
    total_count: int
    by_bucket: list[TimeBucket]
    by_source: list[KeyCount]
    by_error_class: list[KeyCount]
    by_customer: Annotated[list[KeyCount], Field(description="The first 100.")]
