"""`billing payment`: which there are, and the story of one, for a person or (`--json`) for a
program."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer

from api.documents.payment import Payment
from api.documents.refund import Refund
from api.documents.story import Story, StoryReview, Workflow
from cli.calling import Answer, calling
from cli.gateway import standing
from cli.listing import Listing, listed, pages
from cli.options import EXAMPLE_ID, Customer, Moment, as_id, example, moment
from cli.review import command
from cli.words import STATUS, clock, duration, say
from domain.ledger import LATE_CAPTURES
from domain.money import format_amount
from domain.payment import FINAL, PaymentStatus

app = typer.Typer(help="Look at payments.", no_args_is_help=True)


COLUMNS: Mapping[str, Callable[[Payment], object]] = {
    "id": lambda each: each.id,
    "status": lambda each: each.status,
    "amount": lambda each: format_amount(each.amount, each.currency),
    "customerId": lambda each: each.customer_id,
    "method": lambda each: each.method,
    "createdAt": lambda each: each.created_at,
    "gateway": lambda each: each.gateway,
    "gatewayReference": lambda each: each.gateway_reference,
    "failureCode": lambda each: each.failure_code,
}


@app.command("list", epilog=example("payment list --open --older-than PT10M"))
@listed
def list_(
    status: Annotated[PaymentStatus | None, typer.Option(help="Only those.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Only those that have not ended.")] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Made longer ago: PT10M, PT1H, P1D.")
    ] = None,
    customer: Customer = None,
    order: Annotated[str | None, typer.Option(help="Only of this order.")] = None,
    gateway: Annotated[str | None, typer.Option(help="Only by this PG.")] = None,
    gateway_reference: Annotated[
        str | None, typer.Option(help="Its number at the PG, or ours there.")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="Only in this one, as KRW.")] = None,
    min_amount: Annotated[int | None, typer.Option(help="In minor units of --currency.")] = None,
    max_amount: Annotated[int | None, typer.Option(help="In minor units of --currency.")] = None,
    since: Moment = None,
    until: Moment = None,
) -> Listing[Payment]:
    """List payments, newest first: those that hang with --open --older-than PT10M."""
    query = {
        "status": status,
        "open": "true" if open_ else None,
        "olderThan": older_than,
        "customerId": customer,
        "orderId": order,
        "gateway": gateway,
        "gatewayReference": gateway_reference,
        "currency": currency,
        "minAmount": min_amount,
        "maxAmount": max_amount,
        "from": moment(since),
        "to": moment(until),
    }
    return Listing(Payment, pages("/api/v1/payments", query), COLUMNS, "No payments.")


@app.command(epilog=example(f"payment show {EXAMPLE_ID}"))
def show(
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="Of a payment, or of an order, top-up or refund.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs: a list with one object per payment.")
    ] = False,
) -> None:
    """Tell the story of a payment: what happened, what is booked, what it waits for."""
    found = asyncio.run(_stories(as_id(id_)))
    if as_json:
        typer.echo(found.text)
        return
    for story in found.read_all(Story):
        _print(story)


async def _stories(id_: str) -> Answer:
    async with calling() as api:
        return await api.get(f"/api/v1/stories/{id_}")


def _print(story: Story) -> None:
    sections = {
        "Steps": _steps(story),
        "At the gateway": _attempts(story),
        "Ledger": _postings(story),
        "Events": _events(story),
        "Reviews": (line for review in story.reviews for line in _review(review)),
        "Refunds": (line for refund in story.refunds for line in _refund(refund)),
        "Now": _now(story),
    }
    say(f"Payment {story.payment.id}: {story.payment.status}", style="bold")
    for line in _facts(story):
        say(f"  {line}")
    for title, lines in sections.items():
        say(title, style="bold")
        for line in [*lines] or ["none"]:
            say(f"  {line}")
    if story.temporal_ui_url:
        say("In the Temporal UI", style="bold")
        say(f"  {story.temporal_ui_url}")


def _facts(story: Story) -> Iterator[str]:
    paid = story.payment
    yield _came_to(story)
    yield f"{format_amount(paid.amount, paid.currency)} by {paid.method} from {paid.customer_id}"
    if len(story.paid_with) > 1:
        yield f"made up of {', '.join(story.paid_with)}"
    if paid.order_id is not None:
        yield f"for order {paid.order_id}, which is {story.order_status}"
    elif paid.invoice_id is not None:
        yield f"for invoice {paid.invoice_id}"
    else:
        yield "to top up the wallet"
    yield f"made {_at(paid.created_at)}, last changed {_at(paid.updated_at)}"
    if paid.refunded_amount:
        yield f"{format_amount(paid.refunded_amount, paid.currency)} were given back"
    if paid.failure_code:
        yield f"why: {paid.failure_code}. {paid.failure_message}"
    if paid.gateway_code:
        yield f"in the gateway's words: {paid.gateway_code}"
    if paid.review_reason:
        yield f"why undecided: {paid.review_reason}"


def _came_to(story: Story) -> str:
    """What the PG took late is in no status: the payment had ended by then."""
    late = [each.amount for each in story.postings if each.account == LATE_CAPTURES]
    if not late:
        return STATUS[story.payment.status]
    if not sum(late):
        return "what was taken late was given back"
    amount = format_amount(sum(late), story.payment.currency)
    return f"{amount} were taken late, and are not given back yet"


def _steps(story: Story) -> Iterator[str]:
    for step in story.steps:
        yield f"{step.step:18} {step.state:8} {_at(step.at)}"


def _attempts(story: Story) -> Iterator[str]:
    for attempt in story.payment.attempts:
        amount = format_amount(attempt.amount, story.payment.currency)
        outcome = attempt.outcome or "no outcome yet"
        yield f"{attempt.operation} of {amount} under key {attempt.idempotency_key}: {outcome}"
        for words in (attempt.gateway_reference, attempt.code, attempt.message):
            if words:
                yield f"  {words}"


def _postings(story: Story) -> Iterator[str]:
    for posting in story.postings:
        amount = format_amount(posting.amount, posting.unit)
        yield f"{posting.kind:14} {posting.account:40} {amount:>20}"


def _events(story: Story) -> Iterator[str]:
    for event in story.events:
        published = event.published_at
        where = f"published {_at(published)}" if published else "waits in the outbox"
        whose = "payment" if event.aggregate_id == story.payment.id else "order"
        yield f"{event.topic:28} version {event.aggregate_version} of the {whose}, {where}"


def _refund(refund: Refund) -> Iterator[str]:
    amount = format_amount(refund.amount, refund.currency)
    yield f"{refund.id}: {amount}, {refund.status} ({refund.reason})"
    if refund.failure_code:
        code = f" ({refund.gateway_code})" if refund.gateway_code else ""
        yield f"  {refund.failure_code}. {refund.failure_message}{code}"
    if refund.review_reason:
        yield f"  why undecided: {refund.review_reason}"


def _review(review: StoryReview) -> Iterator[str]:
    yield f"{_at(review.opened_at)}: {review.reason}"
    if review.closed_at is not None:
        whose = "a person" if review.decided_by else "the gateway"
        note = f" ({review.note})" if review.note else ""
        yield f"  {_at(review.closed_at)}: {review.outcome}, by {whose}{note}"


def _now(story: Story) -> Iterator[str]:
    paid = story.payment
    for asked in story.reviews:
        if asked.closed_at is None:
            yield f"waits for you: {command(asked.reference_id, asked.question.answers)}"
    if story.temporal_error:
        yield story.temporal_error
        return
    for workflow in story.workflows:
        yield from _workflow(workflow)
    if story.gateway is not None:
        yield from standing(story.gateway)
    if paid.status not in FINAL and not story.workflows:
        yield "Temporal knows no workflow of it: a worker starts one within seconds"


def _workflow(workflow: Workflow) -> Iterator[str]:
    if workflow.status != "RUNNING":
        yield f"nothing: the workflow {workflow.workflow_id} is {workflow.status}"
        return
    yield _at_work(workflow)
    for activity in workflow.activities:
        yield f"  does: {activity.summary or activity.name}, attempt {activity.attempt}"
        if activity.last_error:
            yield f"    the last one failed: {activity.last_error}"
    for timer in workflow.timers:
        left = duration(timer.ends_at - datetime.now(UTC))
        until = f"{left} more, until {clock(timer.ends_at)}"
        yield f"  waits {until}: {timer.summary or 'then tries a step again'}"


def _at_work(workflow: Workflow) -> str:
    if workflow.task_failure is not None:
        return f"workflow {workflow.workflow_id} cannot go on: {workflow.task_failure}"
    if workflow.waits_for_worker_since is not None:
        waited = duration(datetime.now(UTC) - workflow.waits_for_worker_since)
        whose = f" of build {workflow.build}" if workflow.build else ""
        return f"workflow {workflow.workflow_id} has waited {waited} for a worker{whose}"
    return f"workflow {workflow.workflow_id} is at work"


def _at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
