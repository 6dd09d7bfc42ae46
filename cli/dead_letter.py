"""`billing dead-letter`: what could not be done or taken, and what an operator makes of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import orjson
import typer

from api import dead_letter as documents
from api.dead_letter import BulkJob, BulkResult, Message, MessageDetail, Statistics
from api.fields import Document
from cli.system import Refused, System, as_id, connected
from cli.words import duration, say
from domain.access import OPERATOR
from domain.dead_letter import JobState, LetterSource, LetterState, Operation, Wanted
from domain.identifier import UUID, has_form
from domain.money import format_amount
from service import dead_letter

SHOWN = 80
"""So many characters of a message are shown in a line; `show` and `--json` have all."""
LOOK_SECONDS = 1.0

app = typer.Typer(help="What could not be done.", no_args_is_help=True)

Result = TypeVar("Result")
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
    wanted = Wanted(source, topic, group, _utc(since), _utc(until), error, customer)

    async def found(system: System) -> list[Message]:
        rows, _ = await dead_letter.page(system.desk, OPERATOR, wanted, state, None, limit)
        return [documents.message(each) for each in rows]

    letters = _asked(found)
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

    async def found(system: System) -> MessageDetail:
        return documents.detail(await dead_letter.get(system.desk, OPERATOR, _name(called)))

    letter = _asked(found)
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

    async def done(system: System) -> MessageDetail:
        return documents.detail(await dead_letter.replay(system.desk, OPERATOR, _name(called)))

    say(f"The dead letter {called} is {_asked(done).state}.")


@app.command()
def discard(called: Called, reason: Reason) -> None:
    """Give it up; it stays to be seen."""

    async def done(system: System) -> MessageDetail:
        desk = system.desk
        return documents.detail(await dead_letter.discard(desk, OPERATOR, _name(called), reason))

    say(f"The dead letter {called} is {_asked(done).state}.")


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
    wanted = Wanted(source, topic, group, _utc(since), _utc(until), error, customer)
    _many(Operation.REPLAY, wanted, reason, yes)


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
    wanted = Wanted(source, topic, group, _utc(since), _utc(until), error, customer)
    _many(Operation.DISCARD, wanted, reason, yes)


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
    turns = [
        state
        for asked, state in (
            (pause, JobState.PAUSED),
            (resume, JobState.RUNNING),
            (cancel, JobState.CANCELLED),
        )
        if asked
    ]
    if len(turns) > 1:
        raise Refused("Pause, resume or cancel: one of them.")
    id_ = as_id(job_id)

    async def found(system: System) -> BulkJob:
        if turns:
            return documents.job(await dead_letter.turn_job(system.desk, OPERATOR, id_, turns[0]))
        return documents.job(await dead_letter.job(system.desk, OPERATOR, id_))

    stands = _asked(found)
    turns.clear()
    while watch and stands.state is JobState.RUNNING:
        say(_progress(stands))
        time.sleep(LOOK_SECONDS)
        stands = _asked(found)
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
    wanted = Wanted(source=source, since=_utc(since), until=_utc(until))

    async def found(system: System) -> Statistics:
        width = documents.duration_of(bucket)
        counted = await dead_letter.stats(system.desk, OPERATOR, wanted, width)
        return documents.statistics(counted, bucket)

    counted = _asked(found)
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


def _many(what: Operation, wanted: Wanted, reason: str | None, yes: bool) -> None:
    async def done(system: System) -> BulkResult:
        desk = system.desk
        if yes:
            started = dead_letter.start_job(desk, OPERATOR, what, wanted, reason, None)
            return documents.bulk(await started)
        return documents.bulk(await dead_letter.dry_run(desk, OPERATOR, what, wanted))

    found = _asked(done)
    if found.job_id is not None:
        say(f"{found.estimated_count} letters: billing dead-letter job {found.job_id} --watch")
        return
    say(f"{found.estimated_count} letters, nothing is done yet; the oldest:", style="bold")
    for each in found.sample_message_ids:
        say(f"  {each}")
    say("The same command with --yes does it, with these letters only.")


def _asked(asking: Callable[[System], Awaitable[Result]]) -> Result:
    async def connecting() -> Result:
        async with connected() as system:
            return await asking(system)

    return asyncio.run(connecting())


def _name(called: str) -> str:
    if not documents.is_name(called):
        raise Refused(f"{called[:80]!r} is no dead letter: they look like billing.usage.DLT:3:17.")
    return called.lower() if has_form(called, UUID) else called


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


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
