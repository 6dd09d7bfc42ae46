"""Dead letters: what could not be done, or could not be taken, and waits for an operator.

There are two births and one kind of letter. A message that a consumer gave up comes with its place
and its very bytes, and is replayed by sending those again. A thing of our own that came to its end
(an invoice that nobody pays, a month that cannot be settled) has a `reference`, the workflow that
owns it, and is replayed by asking that once more.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from domain.audit import Action, Actor
from domain.errors import IllegalDlqOperation, InvalidRequest
from domain.event import DLT_SUFFIX, JSON, Event, RawMessage
from domain.identifier import NAME, UUID, has_form
from domain.message import UNREADABLE, Headers, Message, Refused, as_text
from domain.settlement import EndedSettlement
from domain.workflow_id import settlement_workflow_id

ORIGINAL = "kafka_dlt-original-"
"""How the headers begin that say where a message was given up, as spring-kafka writes them."""
REPLAY_OF = "dlq-replay-of"
REPLAY_COUNT = "dlq-replay-count"
_ABOUT_ITS_DEATH = ("kafka_dlt-", "dlt-id", "dlq-replay-")

_LONGEST_NAME = 200
_LONGEST_KEY = 255
_LONGEST_TRACE = 100_000
_MOST_REPLAYS = 1_000_000


class LetterSource(StrEnum):
    """What a letter is about, by the topic that its message was on."""

    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    SETTLEMENT = "SETTLEMENT"
    PG_WEBHOOK = "PG_WEBHOOK"
    OUTBOX = "OUTBOX"
    """Any other event."""
    INVOICE = "INVOICE"
    USAGE = "USAGE"
    WEBHOOK = "WEBHOOK"
    ORDER = "ORDER"


_TOPICS = {
    "billing.payment.": LetterSource.PAYMENT,
    "billing.refund.": LetterSource.REFUND,
    "billing.settlement.": LetterSource.SETTLEMENT,
    "billing.pg-webhook.": LetterSource.PG_WEBHOOK,
    "billing.invoice.": LetterSource.INVOICE,
    "billing.overdue.": LetterSource.INVOICE,
    "billing.usage.": LetterSource.USAGE,
    "billing.webhook.": LetterSource.WEBHOOK,
    "billing.order.": LetterSource.ORDER,
}


class LetterState(StrEnum):
    OPEN = "OPEN"
    REPLAYING = "REPLAYING"
    """Asked for: the brokers have not acknowledged it yet, or its owner has not come to an end."""
    REPLAYED = "REPLAYED"
    """Done again. What fails again comes back as another letter."""
    DISCARDED = "DISCARDED"
    RESOLVED = "RESOLVED"
    """What it is about was mended another way."""


LIVE = (LetterState.OPEN, LetterState.REPLAYING)


@dataclass(frozen=True)
class NewLetter:
    """A letter as it is born. `origin` is the same however often it is set aside; of our own ends
    the `reference` is. `retry_count`: how often it was replayed before, from letter `replay_of`."""

    source: LetterSource
    error_class: str
    failure_reason: str
    payload: bytes | None
    reference: str | None = None
    origin: str | None = None
    dlt_topic: str | None = None
    original_topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    timestamp: int | None = None
    key: bytes | None = None
    headers: Headers = ()
    stacktrace: str | None = None
    consumer_group: str | None = None
    original_at: datetime | None = None
    occurred_at: datetime | None = None
    retry_count: int = 0
    idempotency_key: str | None = None
    customer_id: str | None = None
    replay_of: str | None = None

    @property
    def message_id(self) -> str | None:
        """Its place on a topic of dead letters."""
        if self.dlt_topic is None:
            return None
        return f"{self.dlt_topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True)
class LetterHead:
    """A letter as lists show it: of its key only the beginning, of its payload the length.

    `message_id` is its place on a topic of dead letters. Offsets begin anew with every broker that
    has forgotten, so it may name several letters in the course of time; `id` names one for ever.
    """

    id: str
    position: int
    message_id: str | None
    source: LetterSource
    reference: str | None
    dlt_topic: str | None
    original_topic: str | None
    partition: int | None
    offset: int | None
    key: bytes | None
    error_class: str
    failure_reason: str
    occurred_at: datetime
    payload_length: int | None
    customer_id: str | None
    consumer_group: str | None
    retry_count: int
    state: LetterState
    state_reason: str | None
    state_actor: str | None
    state_at: datetime | None

    @property
    def called(self) -> str:
        """The name by which operators know it."""
        return self.message_id or self.id


@dataclass(frozen=True)
class DeadLetter(LetterHead):
    """All of it."""

    payload: bytes | None
    headers: Headers
    timestamp: int | None
    stacktrace: str | None
    original_at: datetime | None
    idempotency_key: str | None
    replay_of: str | None
    job_id: str | None


@dataclass(frozen=True)
class Wanted:
    """Which letters; what is None does not matter. `topic` is that of the dead letters or that of
    the message itself; `until` is not included."""

    source: LetterSource | None = None
    topic: str | None = None
    consumer_group: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    error_class: str | None = None
    customer_id: str | None = None

    @property
    def is_everything(self) -> bool:
        return self == Wanted()

    def as_json(self) -> dict[str, JSON]:
        """What is asked for, in one form only."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        return {
            name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
            for name, value in fields.items()
        }


def source_of(topic: str) -> LetterSource:
    """By the longest family of topics that it belongs to."""
    return next(
        (source for family, source in _TOPICS.items() if f"{topic}.".startswith(family)),
        LetterSource.OUTBOX,
    )


def set_aside(group: str, refusal: Refused) -> NewLetter:
    """The letter of a message that a consumer of ours cannot take, straight from the consumer."""
    message = refusal.message
    letter = _of_message(message, message.topic)
    place = (group, message.topic, message.partition, message.offset, message.timestamp)
    return replace(
        letter,
        origin=_origin(*place, message.value),
        consumer_group=group,
        error_class=refusal.error[:_LONGEST_NAME],
        failure_reason=refusal.reason,
        original_at=_moment(message.timestamp),
    )


def from_topic(message: Message) -> NewLetter:
    """The letter that stands on a topic of dead letters.

    Where it came from is the name of that topic without its end, whatever its headers say: who may
    write one topic of dead letters must not reach other topics by it.
    """
    original = message.topic.removesuffix(DLT_SUFFIX)
    letter = _of_message(message, original)
    found = _last(message.headers)
    group = _text(found.get(f"{ORIGINAL}consumer-group"), _LONGEST_KEY)
    told = [_number(found.get(f"{ORIGINAL}{name}")) for name in ("partition", "offset")]
    timestamp = _number(found.get(f"{ORIGINAL}timestamp"))
    if group is None or timestamp is None or None in told:
        place = ("", message.topic, message.partition, message.offset, message.timestamp)
    else:
        place = (group, original, told[0] or 0, told[1] or 0, timestamp)
    return replace(
        letter,
        origin=_origin(*place, message.value),
        dlt_topic=message.topic,
        consumer_group=group,
        error_class=_text(found.get("kafka_dlt-exception-fqcn"), _LONGEST_NAME) or "unknown",
        failure_reason=_text(found.get("kafka_dlt-exception-message"), 2_000) or "",
        stacktrace=_text(found.get("kafka_dlt-exception-stacktrace"), _LONGEST_TRACE),
        original_at=None if timestamp is None else _moment(timestamp),
        occurred_at=_moment(message.timestamp),
    )


def of_invoice(owner: str, reason: str, event: Event) -> NewLetter:
    """Nobody could collect it."""
    return NewLetter(
        source=LetterSource.INVOICE,
        reference=owner,
        error_class="UNCOLLECTIBLE",
        failure_reason=reason,
        payload=json.dumps(event.data, ensure_ascii=False).encode(),
        customer_id=event.customer_id,
    )


def of_settlement(ended: EndedSettlement) -> NewLetter:
    """A month that could not be settled."""
    wanted = ended.settlement
    body = {"customerId": wanted.customer_id, "period": wanted.period, "reason": ended.reason}
    return NewLetter(
        source=LetterSource.SETTLEMENT,
        reference=settlement_workflow_id(wanted.customer_id, wanted.period),
        error_class="SETTLEMENT_FAILED",
        failure_reason=ended.reason or "failed",
        payload=json.dumps(body, ensure_ascii=False).encode(),
        customer_id=wanted.customer_id,
    )


def _of_message(message: Message, topic: str) -> NewLetter:
    found = _last(message.headers)
    replay_of = _text(found.get(REPLAY_OF), _LONGEST_KEY)
    customer_id = _text(found.get("customer-id"), _LONGEST_KEY)
    return NewLetter(
        source=source_of(topic),
        error_class="unknown",
        failure_reason="",
        payload=message.value,
        original_topic=topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=message.timestamp,
        key=message.key,
        headers=message.headers,
        retry_count=_count(found.get(REPLAY_COUNT)),
        idempotency_key=_text(found.get("Idempotency-Key"), _LONGEST_KEY),
        customer_id=customer_id if customer_id and has_form(customer_id, NAME) else None,
        replay_of=replay_of.lower() if replay_of and has_form(replay_of, UUID) else None,
    )


def _last(headers: Headers) -> Mapping[str, bytes | None]:
    """Of several with one name the last: whoever gives a message up writes behind what it had."""
    return dict(headers)


def _origin(
    group: str, topic: str, partition: int, offset: int, timestamp: int, value: bytes | None
) -> str:
    """Where the message was given up, and by whom. A topic that is made anew counts from 0 again:
    the timestamp tells the two apart. And whatever headers claim, another content is another
    letter: nobody can have one passed over by writing its place beforehand."""
    content = "-" if value is None else hashlib.sha256(value).hexdigest()
    return f"{group}|{topic}:{partition}:{offset}@{timestamp}#{content}"


def _text(value: bytes | None, longest: int) -> str | None:
    return None if value is None else as_text(value)[:longest]


def _number(value: bytes | None) -> int | None:
    """Big-endian, of 4 or 8 bytes."""
    if value is None or len(value) not in (4, 8):
        return None
    return int.from_bytes(value, "big", signed=True)


def _count(value: bytes | None) -> int:
    text = _text(value, _LONGEST_NAME) or ""
    return min(int(text), _MOST_REPLAYS) if text.isascii() and text.isdecimal() else 0


def _moment(milliseconds: int) -> datetime | None:
    """None for what nobody can have meant: producers write any 64 bits."""
    earliest, latest = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
    if not 0 <= milliseconds < (latest - earliest) / timedelta(milliseconds=1):
        return None
    return earliest + timedelta(milliseconds=milliseconds)


def again(letter: DeadLetter) -> RawMessage:
    """The message of a letter as it is sent once more: as it was, and which letter it comes from.

    Its own headers go with it (`ce_id`, `Idempotency-Key`, `customer-id`, `traceparent`), so who
    has had its effect knows it again; what was said of its death does not.
    """
    own = [each for each in letter.headers if not each[0].startswith(_ABOUT_ITS_DEATH)]
    count = str(letter.retry_count + 1).encode()
    about = ((REPLAY_OF, letter.id.encode()), (REPLAY_COUNT, count))
    return RawMessage(letter.key, (*own, *about), letter.payload)


def require_open(letter: LetterHead) -> None:
    """Raises `IllegalDlqOperation` where somebody was here before."""
    if letter.state is not LetterState.OPEN:
        raise IllegalDlqOperation(f"It is {letter.state} already.")


def require_replayable(letter: LetterHead) -> None:
    """Raises `IllegalDlqOperation` for what is not open, and for what nobody could read: sent as
    it is kept it would be empty."""
    require_open(letter)
    if letter.error_class == UNREADABLE:
        raise IllegalDlqOperation("Its bytes could not be read, so there is nothing to send.")


# Many at once.


class Operation(StrEnum):
    REPLAY = "REPLAY"
    DISCARD = "DISCARD"


class JobState(StrEnum):
    DRY_RUN = "DRY_RUN"
    """Nothing is done: what was seen then is what a job for it may touch."""
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLED = "CANCELLED"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL_FAILURE = "PARTIAL_FAILURE"
    FAILED = "FAILED"


class ItemState(StrEnum):
    """How a letter of a job stands."""

    PENDING = "PENDING"
    DONE = "DONE"
    FAILED = "FAILED"


UNDER_WAY = (JobState.RUNNING, JobState.PAUSED)
"""It keeps other jobs for the same letters away."""


@dataclass(frozen=True)
class Job:
    """Many letters for which somebody has decided the same. The counts are those of its items;
    `came_back`: of those that were replayed since somebody last looked, how many failed again."""

    id: str
    operation: Operation
    wanted: Mapping[str, JSON]
    source: LetterSource | None
    reason: str | None
    state: JobState
    state_reason: str | None
    started_by: str
    total: int
    succeeded: int
    failed: int
    came_back: int
    first_error: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class JobOrder:
    """What is to be done with each letter of a job, who wants it, and why."""

    operation: Operation
    by: Actor
    reason: str | None


@dataclass(frozen=True)
class RunningJob:
    """One that should be at work."""

    id: str


@dataclass(frozen=True)
class JobItem:
    """A letter of a job. `called` is the name by which operators know it."""

    letter_id: str
    called: str
    state: ItemState
    error: str | None
    done_at: datetime | None


@dataclass(frozen=True)
class JobRequest:
    """Input of DeadLetterJob: which one, and how many letters a second at most. It goes on as a new
    execution after so many, before its history grows long."""

    job_id: str
    rate: int = 20
    per_execution: int = 1_000


@dataclass(frozen=True)
class JobPage:
    """So many of the letters that are left."""

    job_id: str
    limit: int


@dataclass(frozen=True)
class JobBatch:
    """How the job stands, and what is next; nothing once it does not run any more."""

    state: JobState
    letters: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobLetter:
    """One letter of a job."""

    job_id: str
    letter_id: str


FEW = 20
"""Of fewer letters a share says nothing."""


def comes_back_too_often(replayed: int, came_back: int) -> bool:
    """Whether what was mended is not: more than a fifth has failed again."""
    return replayed >= FEW and came_back * 5 > replayed


def ended(succeeded: int, failed: int) -> JobState:
    """How a job ends of which nothing is left."""
    if not failed:
        return JobState.SUCCEEDED
    return JobState.PARTIAL_FAILURE if succeeded else JobState.FAILED


SINGLE = {Operation.REPLAY: Action.DLQ_REPLAY, Operation.DISCARD: Action.DLQ_DISCARD}
DRY_RUN = {
    Operation.REPLAY: Action.DLQ_BULK_REPLAY_DRYRUN,
    Operation.DISCARD: Action.DLQ_BULK_DISCARD_DRYRUN,
}
START = {
    Operation.REPLAY: Action.DLQ_BULK_REPLAY_START,
    Operation.DISCARD: Action.DLQ_BULK_DISCARD_START,
}
FINISH = {
    Operation.REPLAY: Action.DLQ_BULK_REPLAY_FINISH,
    Operation.DISCARD: Action.DLQ_BULK_DISCARD_FINISH,
}
"""What each is called in the audit trail."""


def require_expected(expected: int | None, found: int) -> None:
    """Raises `IllegalDlqOperation` where there are more than a tenth more or fewer letters than
    somebody believes."""
    if expected is not None and abs(found - expected) * 10 > expected:
        raise IllegalDlqOperation(f"There are {found} letters, and you expect {expected}.")


# How many, when.

MOST_BUCKETS = 1_000


@dataclass(frozen=True)
class Stats:
    """How many letters came, from `since` to before `until`; `by_bucket` has the empty ones too,
    the others the most frequent first."""

    since: datetime
    until: datetime
    bucket: timedelta
    by_bucket: Sequence[tuple[datetime, int]]
    by_source: Sequence[tuple[str, int]]
    by_error_class: Sequence[tuple[str, int]]
    by_customer: Sequence[tuple[str, int]]

    @property
    def total(self) -> int:
        return sum(count for _, count in self.by_bucket)


def buckets(since: datetime, until: datetime, width: timedelta) -> Iterator[datetime]:
    """Where each begins; raises `InvalidRequest` for none, and for too many."""
    if width <= timedelta(0):
        raise InvalidRequest("bucket: must be longer than nothing.")
    if since >= until:
        raise InvalidRequest("from: must be before to.")
    number = -((since - until) // width)
    if number > MOST_BUCKETS:
        raise InvalidRequest(f"bucket: makes {number} buckets, and {MOST_BUCKETS} is the most.")
    return (since + each * width for each in range(number))
