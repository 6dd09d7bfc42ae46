"""`billing dead-letter`: what could not be done or taken, and what an operator makes of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated
from urllib.parse import quote

import orjson
import typer

from api.documents.dead_letter import BulkJob, BulkResult, Message, MessageDetail, Statistics
from cli.calling import Answer, Api, calling
from cli.consent import Decision, Prospect, agreed
from cli.listing import Listing, listed, pages
from cli.options import EXAMPLE_ID, AsJson, Customer, Moment, as_id, example, moment
from cli.refused import Refused
from cli.words import remark, say
from domain.dead_letter import JobState, LetterSource, LetterState
from domain.money import format_amount

SHOWN = 80
"""So many characters of a message are shown in a line; `show` and `--json` have all."""
LOOK_SECONDS = 1.0
DLQ = "/api/v1/admin/dlq"

app = typer.Typer(help="What could not be done.", no_args_is_help=True)

COLUMNS: Mapping[str, Callable[[Message], object]] = {
    "messageId": lambda each: each.message_id,
    "source": lambda each: each.source,
    "state": lambda each: each.state,
    "customerId": lambda each: each.customer_id,
    "occurredAt": lambda each: each.occurred_at,
    "reference": lambda each: each.reference,
    "failureReason": lambda each: each.failure_reason or each.error_class,
}

Called = Annotated[
    str, typer.Argument(metavar="ID", help="As listed, e.g. billing.usage.DLT:3:17.")
]
OfSource = Annotated[LetterSource | None, typer.Option("--source", help="Only of these.")]
OnTopic = Annotated[str | None, typer.Option("--topic", help="Only on this topic.")]
OfGroup = Annotated[str | None, typer.Option("--group", help="Only of this consumer group.")]
OfError = Annotated[str | None, typer.Option("--error", help="Only of this error class.")]
Reason = Annotated[str, typer.Option(help="Kept with the letter.")]


@app.command("list", epilog=example("dead-letter list --source USAGE --since 2026-05-01"))
@listed
def list_(
    source: OfSource = None,
    topic: OnTopic = None,
    group: OfGroup = None,
    error: OfError = None,
    customer: Customer = None,
    since: Moment = None,
    until: Moment = None,
    state: Annotated[LetterState, typer.Option(help="How they stand.")] = LetterState.OPEN,
) -> Listing[Message]:
    """List what waits for an operator, newest first."""
    wanted = _wanted(source, topic, group, error, customer, since, until)
    return Listing(
        Message,
        pages(DLQ, {**wanted, "state": state}, "size"),
        COLUMNS,
        "No dead letters.",
        "Of one of them: billing dead-letter show|replay|discard ID",
    )


@app.command(epilog=example("dead-letter show billing.usage.DLT:3:17"))
def show(called: Called, as_json: AsJson = False) -> None:
    """Show all of one letter."""
    answer = _got(_path(called))
    if as_json:
        typer.echo(answer.text)
        return
    letter = answer.read(MessageDetail)
    say(f"{letter.source} {letter.message_id}: {_why(letter)}, {letter.state}", style="bold")
    for line in (*_about(letter), *_facts(letter)):
        say(f"  {line}")
    if letter.payload is not None:
        say(f"  {letter.payload_length:,} bytes, as {letter.payload_encoding}:")
        for line in letter.payload.splitlines():
            say(f"  | {line}")


@app.command(epilog=example("dead-letter replay billing.usage.DLT:3:17 --yes"))
@agreed
def replay(called: Called) -> Decision:
    """Have it done once more: the message is sent again, the invoice charged, the month settled."""
    return _one(called, "replay", "would be done once more", None)


@app.command(epilog=example("dead-letter discard billing.usage.DLT:3:17 --reason 'sent again'"))
@agreed
def discard(called: Called, reason: Reason) -> Decision:
    """Give it up; it stays to be seen."""
    return _one(called, "discard", "would be given up", {"reason": reason})


@app.command("bulk-replay", epilog=example("dead-letter bulk-replay --source PAYMENT --dry-run"))
@agreed
def bulk_replay(
    source: OfSource = None,
    topic: OnTopic = None,
    group: OfGroup = None,
    error: OfError = None,
    customer: Customer = None,
    since: Moment = None,
    until: Moment = None,
    reason: Annotated[str | None, typer.Option(help="Kept with each letter.")] = None,
) -> Decision:
    """Have many done once more, in a job: those that are there when it is agreed to."""
    wanted = _wanted(source, topic, group, error, customer, since, until)
    return _many("bulk-replay", {**wanted, "reason": reason}, "would be done once more")


@app.command(
    "bulk-discard",
    epilog=example("dead-letter bulk-discard --customer acme-corp --reason 'sent again'"),
)
@agreed
def bulk_discard(
    reason: Reason,
    source: OfSource = None,
    topic: OnTopic = None,
    group: OfGroup = None,
    error: OfError = None,
    customer: Customer = None,
    since: Moment = None,
    until: Moment = None,
) -> Decision:
    """Give many up, in a job: those that are there when it is agreed to."""
    wanted = _wanted(source, topic, group, error, customer, since, until)
    return _many("bulk-discard", {**wanted, "reason": reason}, "would be given up")


@app.command(epilog=example(f"dead-letter job {EXAMPLE_ID} --watch"))
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
        remark(_progress(stands))
        time.sleep(LOOK_SECONDS)
        answer = _called(lambda api: api.watched(path, again))
        stands = answer.read(BulkJob)
    if as_json:
        typer.echo(answer.text)
        return
    say(_progress(stands))
    if stands.state_reason:
        say(f"  {stands.state_reason}")
    if stands.first_error:
        say(f"  the first failure: {stands.first_error}")


@app.command(epilog=example("dead-letter stats --bucket P1D --since 2026-05-01"))
def stats(
    since: Moment = None,
    until: Moment = None,
    bucket: Annotated[str, typer.Option(help="How long each is: PT15M, PT1H, P1D.")] = "PT1H",
    source: OfSource = None,
    as_json: AsJson = False,
) -> None:
    """Count what came when, about what, why and whose; of the last day."""
    wanted = {"from": moment(since), "to": moment(until), "bucket": bucket, "source": source}
    answer = _got(f"{DLQ}/stats", **wanted)
    if as_json:
        typer.echo(answer.text)
        return
    counted = answer.read(Statistics)
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


def _one(called: str, verb: str, would: str, body: Mapping[str, str] | None) -> Decision:
    path = _path(called)

    async def decided(api: Api) -> Prospect:
        letter = (await api.get(path)).read(MessageDetail)
        words = [f"{letter.source} {letter.message_id}, {letter.state}, {would}.", _why(letter)]
        return Prospect(words, partial(_do, api, called, f"{path}/{verb}", body))

    return decided


async def _do(api: Api, called: str, path: str, body: Mapping[str, str] | None) -> None:
    state = (await api.post(path, body)).read(MessageDetail).state
    say(f"The dead letter {called} is {state}.")


def _many(operation: str, wanted: Mapping[str, str | None], would: str) -> Decision:
    """As many as are counted: the API refuses when others have come or gone meanwhile."""
    path = f"{DLQ}/{operation}"
    body = {name: value for name, value in wanted.items() if value is not None}

    async def decided(api: Api) -> Prospect:
        found = (await api.post(path, body)).read(BulkResult)
        words = [f"{found.estimated_count} letters {would}; the oldest:"]
        words += [f"  {each}" for each in found.sample_message_ids]
        if not found.estimated_count:
            return Prospect(["No such dead letters."], None)
        agreed_to = {**body, "confirm": True, "expectedCount": found.estimated_count}
        return Prospect(words, partial(_do_many, api, path, agreed_to))

    return decided


async def _do_many(api: Api, path: str, body: Mapping[str, object]) -> None:
    begun = (await api.post(path, body)).read(BulkResult)
    say(f"{begun.estimated_count} letters: billing dead-letter job {begun.job_id} --watch")


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
        "from": moment(since),
        "to": moment(until),
    }


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
