"""`billing dead-letter`: what could not be done or taken, and what an operator makes of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

import orjson
import typer

from api.dead_letter import BulkJob, BulkResult, Message, MessageDetail, Messages, Statistics
from api.fields import Document
from cli.calling import Answer, Api, calling
from cli.system import Refused, as_id
from cli.words import duration, say
from domain.dead_letter import JobState, LetterSource, LetterState
from domain.money import format_amount

SHOWN = 80
"""So many characters of a message are shown in a line; `show` and `--json` have all."""
LOOK_SECONDS = 1.0
PAGE = 200
DLQ = "/api/v1/admin/dlq"

app = typer.Typer(help="What could not be done.", no_args_is_help=True)

Called = Annotated[
    str, typer.Argument(metavar="ID", help="As listed, e.g. billing.usage.DLT:3:17.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: the API's document.")]
OfSource = Annotated[LetterSource | None, typer.Option("--source", help="Only of these.")]
OnTopic = Annotated[str | None, typer.Option("--topic", help="Only on this topic.")]
OfGroup = Annotated[str | None, typer.Option("--group", help="Only of this consumer group.")]
OfError = Annotated[str | None, typer.Option("--error", help="Only of this error class.")]
OfCustomer = Annotated[str | None, typer.Option("--customer", help="Only this one's.")]
Moment = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"])]
Reason = Annotated[str, typer.Option(help="Kept with the letter.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this it is only counted.")]


@app.command("list")
def list_(
    source: OfSource = None,
    topic: OnTopic = None,
    group: OfGroup = None,
    error: OfError = None,
    customer: OfCustomer = None,
    since: Moment = None,
    until: Moment = None,
    state: Annotated[LetterState, typer.Option(help="How they stand.")] = LetterState.OPEN,
    limit: Annotated[int, typer.Option(help="So many at most.", min=1, max=10_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List what waits for an operator, newest first. Example: billing dead-letter list --source
    USAGE"""
    wanted = _wanted(source, topic, group, error, customer, since, until)
    letters = asyncio.run(_list({**wanted, "state": state}, limit))
    if as_json:
        typer.echo(orjson.dumps([each.model_dump(mode="json") for each in letters]))
        return
    if not letters:
        say("No dead letters.")
    for each in letters:
        age = duration(datetime.now(UTC) - each.occurred_at)
        waits = f"waits for {age}" if each.state is LetterState.OPEN else each.state
        say(f"{each.source} {each.message_id}: {_why(each)}, {waits}", style="bold")
        for line in _about(each):
            say(f"  {line}")


@app.command()
def show(called: Called, as_json: AsJson = False) -> None:
    """Show all of one letter. Example: billing dead-letter show billing.usage.DLT:3:17"""

    letter = _got(_path(called)).read(MessageDetail)
    if as_json:
        _as_json(letter)
        return
    say(f"{letter.source} {letter.message_id}: {_why(letter)}, {letter.state}", style="bold")
    for line in (*_about(letter), *_facts(letter)):
        say(f"  {line}")
    if letter.payload is not None:
        say(f"  {letter.payload_length:,} bytes, as {letter.payload_encoding}:")
        say(letter.payload)


@app.command()
def replay(called: Called) -> None:
    """Have it done once more: the message is sent again, the invoice charged, the month settled."""

    state = _posted(f"{_path(called)}/replay").read(MessageDetail).state
    say(f"The dead letter {called} is {state}.")


@app.command()
def discard(called: Called, reason: Reason) -> None:
    """Give it up; it stays to be seen."""

    state = _posted(f"{_path(called)}/discard", {"reason": reason}).read(MessageDetail).state
    say(f"The dead letter {called} is {state}.")


@app.command("bulk-replay")
def bulk_replay(
    source: OfSource = None,
    topic: OnTopic = None,
    group: OfGroup = None,
    error: OfError = None,
    customer: OfCustomer = None,
    since: Moment = None,
    until: Moment = None,
    reason: Annotated[str | None, typer.Option(help="Kept with each letter.")] = None,
    yes: Yes = False,
) -> None:
    """Count what would be done once more; with --yes do it. Example: billing dead-letter
    bulk-replay --source PAYMENT"""
    wanted = _wanted(source, topic, group, error, customer, since, until)
    _many("bulk-replay", wanted, reason, yes)


@app.command("bulk-discard")
def bulk_discard(
    reason: Reason,
    source: OfSource = None,
    topic: OnTopic = None,
    group: OfGroup = None,
    error: OfError = None,
    customer: OfCustomer = None,
    since: Moment = None,
    until: Moment = None,
    yes: Yes = False,
) -> None:
    """Count what would be given up; with --yes do it."""
    wanted = _wanted(source, topic, group, error, customer, since, until)
    _many("bulk-discard", wanted, reason, yes)


@app.command()
def job(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="As bulk-replay has said.")],
    pause: Annotated[bool, typer.Option("--pause", help="Touch no letter any more.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Leave the rest as it is.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how far a job is, or pause, resume or cancel it."""
    turns = {"pause": pause, "resume": resume, "cancel": cancel}
    asked = [name for name, wanted in turns.items() if wanted]
    if len(asked) > 1:
        raise Refused("Pause, resume or cancel: one of them.")
    path = f"{DLQ}/bulk-jobs/{as_id(job_id)}"
    again = f"`billing dead-letter job {job_id} --watch` looks again."
    answer = _posted(f"{path}/{asked[0]}") if asked else _got(path)
    stands = answer.read(BulkJob)
    while watch and stands.state is JobState.RUNNING:
        say(_progress(stands))
        time.sleep(LOOK_SECONDS)
        stands = _called(lambda api: api.watched(path, again)).read(BulkJob)
    if as_json:
        _as_json(stands)
        return
    say(_progress(stands))
    if stands.state_reason:
        say(f"  {stands.state_reason}")
    if stands.first_error:
        say(f"  the first failure: {stands.first_error}")


@app.command()
def stats(
    since: Moment = None,
    until: Moment = None,
    bucket: Annotated[str, typer.Option(help="How long each is: PT15M, PT1H, P1D.")] = "PT1H",
    source: OfSource = None,
    as_json: AsJson = False,
) -> None:
    """Count what came when, about what, why and whose; of the last day."""
    wanted = {"from": _moment(since), "to": _moment(until), "bucket": bucket, "source": source}
    counted = _got(f"{DLQ}/stats", **wanted).read(Statistics)
    if as_json:
        _as_json(counted)
        return
    say(f"{counted.total_count} dead letters", style="bold")
    for each in counted.by_bucket:
        if each.count:
            say(f"  {each.bucket_start:%Y-%m-%d %H:%M} UTC  {each.count}")
    for words, groups in (
        ("about", counted.by_source),
        ("because of", counted.by_error_class),
        ("whose", counted.by_customer),
    ):
        for group in groups:
            say(f"  {words} {group.key}: {group.count}")


def _many(operation: str, wanted: Mapping[str, str | None], reason: str | None, yes: bool) -> None:
    body = {name: value for name, value in wanted.items() if value is not None}
    more = {} if reason is None else {"reason": reason}
    found = _posted(f"{DLQ}/{operation}", {**body, **more, "confirm": yes}).read(BulkResult)
    if found.job_id is not None:
        say(f"{found.estimated_count} letters: billing dead-letter job {found.job_id} --watch")
        return
    say(f"{found.estimated_count} letters, nothing is done yet; the oldest:", style="bold")
    for each in found.sample_message_ids:
        say(f"  {each}")
    say("The same command with --yes does it, with these letters only.")


async def _list(wanted: Mapping[str, str | None], limit: int) -> list[Message]:
    found: list[Message] = []
    cursor: str | None = None
    async with calling() as api:
        while True:
            size = min(PAGE, limit - len(found))
            answer = await api.get(DLQ, **wanted, cursor=cursor, size=size)
            page = answer.read(Messages)
            found += page.items
            cursor = page.next_cursor
            if cursor is None or len(found) >= limit:
                return found[:limit]


def _got(path: str, **query: str | None) -> Answer:
    return _called(lambda api: api.get(path, **query))


def _posted(path: str, body: Mapping[str, object] | None = None) -> Answer:
    return _called(lambda api: api.post(path, body))


def _called(asking: Callable[[Api], Awaitable[Answer]]) -> Answer:
    async def connecting() -> Answer:
        async with calling() as api:
            return await asking(api)

    return asyncio.run(connecting())


def _path(called: str) -> str:
    if not called.strip():
        raise Refused("A dead letter has a name, such as billing.usage.DLT:3:17.")
    return f"{DLQ}/{quote(called, safe=':')}"


def _wanted(
    source: LetterSource | None,
    topic: str | None,
    group: str | None,
    error: str | None,
    customer: str | None,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, str | None]:
    return {
        "source": source,
        "topic": topic,
        "consumerGroup": group,
        "errorType": error,
        "customerId": customer,
        "from": _moment(since),
        "to": _moment(until),
    }


def _moment(moment: datetime | None) -> str | None:
    """In UTC where nothing else is said."""
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _why(letter: Message) -> str:
    return next(iter(letter.failure_reason.splitlines()), "") or letter.error_class


def _about(letter: Message) -> Iterator[str]:
    """Where it was, whose it is, and what can be done about it."""
    if letter.reference is None:
        place = f"{letter.dlt_topic or letter.original_topic}, partition {letter.partition}"
        yield f"{place}, offset {letter.offset} ({letter.error_class})"
    else:
        yield letter.reference
    if letter.customer_id:
        yield f"of {letter.customer_id}"
    if letter.retry_count:
        yield f"replayed {letter.retry_count} times before"
    if letter.state_reason:
        yield f"{letter.state} by {letter.state_by or 'the system'}: {letter.state_reason}"
    if letter.state is not LetterState.OPEN:
        return
    if letter.reference is not None and letter.source is LetterSource.INVOICE:
        id_ = letter.reference.rpartition("/")[2]
        yield f"billing invoice pay|paid-outside|write-off|cancel {id_}"
    yield f"billing dead-letter show|replay|discard {letter.message_id}"


def _facts(letter: MessageDetail) -> Iterator[str]:
    """What an invoice owes and what was tried; of a message what came with it."""
    if letter.reference is not None and letter.source is LetterSource.INVOICE:
        body = orjson.loads(letter.payload or "{}")
        amount = format_amount(body["total"], body["currency"])
        yield f"{amount} of {body['customerId']} for {body['period']}, due {body['dueAt']}"
        for each in body["attempts"]:
            why = each["gatewayCode"] or each["failure"]
            yield f"{each['at']} payment {each['paymentId']}: {each['message'] or ''} ({why})"
    for header in letter.headers:
        yield f"{header.name}: {(header.value or '')[:SHOWN]}"


def _progress(stands: BulkJob) -> str:
    done = f"{stands.processed_count} of {stands.total_count}"
    counts = f"{stands.success_count} done, {stands.failure_count} failed"
    return (
        f"{stands.operation} {stands.state}: {done}, {counts}, {stands.came_back_count} came back"
    )


def _as_json(document: Document) -> None:
    typer.echo(orjson.dumps(document.model_dump(mode="json")))
