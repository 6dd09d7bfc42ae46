"""Dead letters: what could not be done or taken, for whoever administers the installation.

No call needs an Idempotency-Key: a letter is decided about once, and its name is the key.
"""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from api import cursor
from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Using
from api.cursor import MAX_LENGTH
from api.documents.dead_letter import (
    BulkItem,
    BulkItems,
    BulkJob,
    BulkResult,
    Encoding,
    Header,
    Message,
    MessageDetail,
    Messages,
    Statistics,
)
from api.fields import CUSTOMER_ID, CustomerId, Document, Empty, Moment, duration, utc
from api.parameters import PathId
from domain.access import Access
from domain.dead_letter import (
    DeadLetter,
    ItemState,
    Job,
    JobState,
    LetterHead,
    LetterSource,
    LetterState,
    Operation,
    Stats,
    Wanted,
)
from domain.errors import InvalidRequest
from domain.identifier import UUID
from domain.message import as_text
from domain.roles import Action
from service import dead_letter
from service.dead_letter import Bulk
from service.page import Ascent
from store.page import Place

router = APIRouter(prefix="/api/v1/admin/dlq", tags=["dead letters"], route_class=StrictJSONRoute)

NAME = r"^[\x21-\x7e]{1,249}$"
MESSAGE_ID = rf"^(?:[A-Za-z0-9._-]{{1,249}}:[0-9]{{1,10}}:[0-9]{{1,19}}|{UUID.pattern[1:-1]})$"

Called = Annotated[
    str,
    Path(
        alias="messageId",
        pattern=MESSAGE_ID,
        description="Its place on a topic of dead letters, or its `id`.",
        examples=["billing.payment.captured.DLT:0:42"],
    ),
]
Topic = Annotated[
    str, Field(pattern=NAME, description="Of dead letters, or that of the message itself.")
]
Group = Annotated[str, Field(pattern=NAME, examples=["billing-usage"])]
ErrorType = Annotated[
    str, Field(max_length=200, description="As in `errorClass`.", examples=["usage-conflict"])
]
MAX_REASON = 256
Reason = Annotated[
    str,
    Field(pattern=r"\S", max_length=MAX_REASON, examples=["the customer has cancelled before"]),
]

Duration = Annotated[str, Query(max_length=40, examples=["PT1H"])]


class Discarded(Document):
    reason: Reason


class Filter(Document):
    """Which letters; what is not named does not matter. Nothing is done unless `confirm` is exactly
    `true`; the job then has those letters only that the dry run before has seen."""

    source: LetterSource | None = None
    topic: Topic | None = None
    consumer_group: Group | None = None
    since: Annotated[Moment | None, Field(alias="from")] = None
    until: Annotated[Moment | None, Field(alias="to")] = None
    error_type: ErrorType | None = None
    customer_id: CustomerId | None = None
    confirm: Annotated[
        bool, Field(strict=True, description="Exactly `true`: do it. Else nothing is done.")
    ] = False
    expected_count: Annotated[
        int | None,
        Field(strict=True, ge=0, le=2**31, description="More than a tenth off: 409."),
    ] = None

    def wanted(self) -> Wanted:
        return Wanted(
            source=self.source,
            topic=self.topic,
            consumer_group=self.consumer_group,
            since=self.since,
            until=self.until,
            error_class=self.error_type,
            customer_id=self.customer_id,
        )


class Replays(Filter):
    reason: Reason | None = None


class Discards(Filter):
    reason: Reason


@router.get("", response_model=Messages)
async def list_dead_letters(
    access: Annotated[Access, may(Action.DEAD_LETTER_READ)],
    context: Using,
    source: LetterSource | None = None,
    topic: Annotated[Topic | None, Query()] = None,
    consumer_group: Annotated[Group | None, Query(alias="consumerGroup")] = None,
    since: Annotated[Moment | None, Query(alias="from", description="From then on.")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="Until before then.")] = None,
    error_type: Annotated[ErrorType | None, Query(alias="errorType")] = None,
    customer_id: Annotated[str | None, Query(alias="customerId", pattern=CUSTOMER_ID)] = None,
    state: Annotated[
        LetterState | Literal["ALL"], Query(description="`ALL` for every state.")
    ] = LetterState.OPEN,
    after: Annotated[str | None, Query(alias="cursor", max_length=MAX_LENGTH)] = None,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Messages:
    """What waits, newest first. A letter that committed only after its place was passed comes with
    the page that follows, beyond `size`. That you look is noted."""
    wanted = Wanted(source, topic, consumer_group, since, until, error_type, customer_id)
    secrets = context.settings.cursor_secrets
    named = {name: str(value) for name, value in wanted.as_json().items()}
    filters: dict[str, str | None] = {"of": "dlq", "state": state, **named}
    place = None if after is None else cursor.decode(secrets, after, filters, Place)
    only = None if state == "ALL" else LetterState(state)
    found = await dead_letter.listed(context.desk, access, wanted, only, place, size)
    last = found.following
    following = None if last is None else cursor.encode(secrets, last, filters)
    return Messages(
        items=[_message(each) for each in found.items],
        nextCursor=following,
        hasMore=following is not None,
        size=size,
    )


@router.get("/stats", response_model=Statistics)
async def count_dead_letters(
    access: Annotated[Access, may(Action.DEAD_LETTER_READ)],
    context: Using,
    since: Annotated[Moment | None, Query(alias="from")] = None,
    until: Annotated[Moment | None, Query(alias="to")] = None,
    bucket: Duration = "PT1H",
    source: LetterSource | None = None,
) -> Statistics:
    """How many came when, about what, why and whose, whatever became of them. Of the last day where
    nothing else is said."""
    wanted = Wanted(source=source, since=since, until=until)
    found = await dead_letter.stats(context.desk, access, wanted, _duration(bucket))
    return _statistics(found, bucket)


@router.get("/bulk-jobs/{job_id}", response_model=BulkJob)
async def get_bulk_job(
    job_id: PathId,
    access: Annotated[Access, may(Action.DEAD_LETTER_READ)],
    context: Using,
) -> BulkJob:
    """How far a job is."""
    return _job(await dead_letter.job(context.desk, access, job_id))


@router.get("/bulk-jobs/{job_id}/items", response_model=BulkItems)
async def list_bulk_items(
    job_id: PathId,
    access: Annotated[Access, may(Action.DEAD_LETTER_READ)],
    context: Using,
    state: ItemState | None = None,
    after: Annotated[str | None, Query(alias="cursor", max_length=MAX_LENGTH)] = None,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> BulkItems:
    """Its letters in the order in which they came, and what became of each."""
    secrets = context.settings.cursor_secrets
    filters: dict[str, str | None] = {"of": "dlq-job", "job": job_id, "state": state}
    place = None if after is None else cursor.decode(secrets, after, filters, Ascent)
    found, last = await dead_letter.job_items(context.desk, access, job_id, state, place, size)
    following = None if last is None else cursor.encode(secrets, last, filters)
    return BulkItems(
        items=[
            BulkItem(
                messageId=each.called,
                id=each.letter_id,
                state=each.state,
                error=each.error,
                doneAt=_utc(each.done_at),
            )
            for each in found
        ],
        nextCursor=following,
    )


@router.post("/bulk-jobs/{job_id}/pause", response_model=BulkJob)
async def pause_bulk_job(
    job_id: PathId,
    access: Annotated[Access, may(Action.DEAD_LETTER_DECIDE_MANY)],
    context: Using,
    body: Empty | None = None,
) -> BulkJob:
    """No letter is touched any more until it is resumed."""
    return _job(await dead_letter.turn_job(context.desk, access, job_id, JobState.PAUSED))


@router.post("/bulk-jobs/{job_id}/resume", response_model=BulkJob)
async def resume_bulk_job(
    job_id: PathId,
    access: Annotated[Access, may(Action.DEAD_LETTER_DECIDE_MANY)],
    context: Using,
    body: Empty | None = None,
) -> BulkJob:
    """It goes on; letters that come back are counted anew."""
    return _job(await dead_letter.turn_job(context.desk, access, job_id, JobState.RUNNING))


@router.post("/bulk-jobs/{job_id}/cancel", response_model=BulkJob)
async def cancel_bulk_job(
    job_id: PathId,
    access: Annotated[Access, may(Action.DEAD_LETTER_DECIDE_MANY)],
    context: Using,
    body: Empty | None = None,
) -> BulkJob:
    """What is left of it stays as it is."""
    return _job(await dead_letter.turn_job(context.desk, access, job_id, JobState.CANCELLED))


@router.post("/bulk-replay", response_model=BulkResult)
async def replay_many(
    body: Replays,
    access: Annotated[Access, may(Action.DEAD_LETTER_DECIDE_MANY)],
    context: Using,
) -> BulkResult:
    """Count what would be done once more; with `confirm: true` do it, as a job."""
    return await _many(context, access, Operation.REPLAY, body, body.reason)


@router.post("/bulk-discard", response_model=BulkResult)
async def discard_many(
    body: Discards,
    access: Annotated[Access, may(Action.DEAD_LETTER_DECIDE_MANY)],
    context: Using,
) -> BulkResult:
    """Count what would be given up; with `confirm: true` do it, as a job."""
    return await _many(context, access, Operation.DISCARD, body, body.reason)


@router.get("/{messageId}", response_model=MessageDetail)
async def get_dead_letter(
    called: Called,
    access: Annotated[Access, may(Action.DEAD_LETTER_READ)],
    context: Using,
) -> MessageDetail:
    """All of it, in its very bytes. That you look is noted."""
    return _detail(await dead_letter.get(context.desk, access, called))


@router.post("/{messageId}/replay", response_model=MessageDetail)
async def replay_dead_letter(
    called: Called,
    access: Annotated[Access, may(Action.DEAD_LETTER_DECIDE)],
    context: Using,
    body: Empty | None = None,
) -> MessageDetail:
    """Have it done once more, once. A message is sent again as it was, under its old keys, so that
    who has had its effect passes over it; an invoice is charged, a month settled."""
    return _detail(await dead_letter.replay(context.desk, access, called))


@router.post("/{messageId}/discard", response_model=MessageDetail)
async def discard_dead_letter(
    called: Called,
    body: Discarded,
    access: Annotated[Access, may(Action.DEAD_LETTER_DECIDE)],
    context: Using,
) -> MessageDetail:
    """Nothing will come of it. It stays to be seen: nothing is ever deleted."""
    return _detail(await dead_letter.discard(context.desk, access, called, body.reason))


async def _many(
    context: Using, access: Access, what: Operation, body: Filter, reason: str | None
) -> BulkResult:
    if not body.confirm:
        return _bulk(await dead_letter.dry_run(context.desk, access, what, body.wanted()))
    expected = body.expected_count
    made = await dead_letter.start_job(context.desk, access, what, body.wanted(), reason, expected)
    return _bulk(made)


def _duration(bucket: str) -> timedelta:
    """Raises `InvalidRequest` for what is none."""
    try:
        return duration(bucket)
    except ValueError as error:
        raise InvalidRequest(f"bucket: is {error}.") from error


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else utc(moment)


def _written(value: bytes | None) -> tuple[str | None, Encoding]:
    if value is None:
        return None, Encoding.TEXT
    try:
        return value.decode(), Encoding.TEXT
    except UnicodeDecodeError:
        return b64encode(value).decode(), Encoding.BASE64


def _message(row: LetterHead) -> Message:
    return Message.model_validate(_fields(row))


def _fields(row: LetterHead) -> dict[str, object]:
    return {
        "messageId": row.called,
        "id": row.id,
        "source": row.source,
        "dltTopic": row.dlt_topic,
        "originalTopic": row.original_topic,
        "partition": row.partition,
        "offset": row.offset,
        "key": None if row.key is None else as_text(row.key),
        "reference": row.reference,
        "errorClass": row.error_class,
        "failureReason": row.failure_reason,
        "occurredAt": utc(row.occurred_at),
        "payloadLength": row.payload_length,
        "customerId": row.customer_id,
        "retryCount": row.retry_count,
        "state": row.state,
        "stateReason": row.state_reason,
        "stateBy": row.state_actor,
        "stateAt": _utc(row.state_at),
    }


def _detail(row: DeadLetter) -> MessageDetail:
    payload, encoding = _written(row.payload)
    return MessageDetail.model_validate(
        {
            **_fields(row),
            "payload": payload,
            "payloadEncoding": encoding,
            "headers": [_header(name, value) for name, value in row.headers],
            "originalStacktrace": row.stacktrace,
            "originalConsumerGroup": row.consumer_group,
            "originalTimestamp": _utc(row.original_at),
            "idempotencyKey": row.idempotency_key,
            "replayOf": row.replay_of,
            "jobId": row.job_id,
        }
    )


def _header(name: str, value: bytes | None) -> Header:
    written, encoding = _written(value)
    return Header(name=name, value=written, valueEncoding=encoding)


def _bulk(found: Bulk) -> BulkResult:
    job = found.job
    return BulkResult(
        mode="DRY_RUN" if job is None else "EXECUTING",
        estimatedCount=found.count,
        sampleMessageIds=found.sample,
        jobId=None if job is None else job.id,
        startedAt=None if job is None else utc(job.started_at),
    )


def _job(row: Job) -> BulkJob:
    return BulkJob(
        jobId=row.id,
        operation=row.operation,
        state=row.state,
        stateReason=row.state_reason,
        reason=row.reason,
        startedBy=row.started_by,
        totalCount=row.total,
        processedCount=row.succeeded + row.failed,
        successCount=row.succeeded,
        failureCount=row.failed,
        cameBackCount=row.came_back,
        startedAt=utc(row.started_at),
        finishedAt=_utc(row.finished_at),
        firstError=row.first_error,
    )


def _statistics(found: Stats, bucket: str) -> Statistics:
    return Statistics.model_validate(
        {
            "from": utc(found.since),
            "to": utc(found.until),
            "bucketDuration": bucket,
            "totalCount": found.total,
            "byBucket": [
                {"bucketStart": utc(each), "count": count} for each, count in found.by_bucket
            ],
            "bySource": _groups(found.by_source),
            "byErrorClass": _groups(found.by_error_class),
            "byCustomer": _groups(found.by_customer),
        }
    )


def _groups(counts: Sequence[tuple[str, int]]) -> list[dict[str, object]]:
    return [{"key": key, "count": count} for key, count in counts]
