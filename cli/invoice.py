"""`billing invoice`: what an invoice says and why, and what a person decides about it."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any
from uuid import uuid4

import typer

from api.documents.invoice import (
    Invoice,
    InvoiceLine,
    Lineage,
    LineageLine,
    Recomputation,
)
from api.documents.payment import Payment
from api.documents.usage import CountedUsage, Format
from cli.calling import Answer, Api, Query, calling
from cli.consent import Decision, Prospect, agreed
from cli.listing import Listing, listed, pages
from cli.options import EXAMPLE_ID, AsJson, Customer, Moment, as_id, example, moment
from cli.refused import Refused
from cli.settings import workflow_link
from cli.words import reason_given, say
from domain.invoice import InvoiceStatus
from domain.money import DECIMALS, format_amount
from domain.payment import FINAL
from domain.period import Period
from domain.pricing_snapshot import LineKind

PATH = "/api/v1/invoices"

app = typer.Typer(help="Look at invoices and decide about them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Of an invoice.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the invoice.")]

COLUMNS: Mapping[str, Callable[[Invoice], object]] = {
    "id": lambda each: each.id,
    "status": lambda each: each.status,
    "period": lambda each: each.period,
    "customerId": lambda each: each.customer_id,
    "total": lambda each: format_amount(each.total, each.currency),
    "reason": lambda each: each.reason,
}
EVENTS: Mapping[str, Callable[[CountedUsage], object]] = {
    "eventId": lambda each: each.event_id,
    "resourceType": lambda each: each.resource_type,
    "quantity": lambda each: each.quantity,
    "occurredAt": lambda each: each.occurred_at,
    "receivedAt": lambda each: each.received_at,
}


@app.command("list", epilog=example("invoice list --status AWAITING_APPROVAL --sort -total"))
@listed
def list_(
    status: Annotated[
        InvoiceStatus | None, typer.Option(help="Only those, e.g. AWAITING_APPROVAL.")
    ] = None,
    customer: Customer = None,
    period: Annotated[str | None, typer.Option(help="Only of this month, as 2026-05.")] = None,
    since: Moment = None,
    until: Moment = None,
) -> Listing[Invoice]:
    """List invoices and drafts, oldest first."""
    query = {
        "status": status,
        "customerId": customer,
        "period": period,
        "from": moment(since),
        "to": moment(until),
    }
    return Listing(Invoice, pages("/api/v2/invoices", query, "size"), COLUMNS, "No invoices.")


@app.command(epilog=example(f"invoice show {EXAMPLE_ID}"))
def show(id_: Id, as_json: AsJson = False) -> None:
    """Show an invoice as it stands."""
    answer = asyncio.run(_get(as_id(id_)))
    if as_json:
        typer.echo(answer.text)
        return
    found = answer.read(Invoice)
    for fact in _facts(found):
        say(fact)
    for line in found.lines:
        what = _what(line)
        say(f"  {what:40} {line.quantity:>16} {format_amount(line.amount, found.currency):>20}")
    for decision in found.decisions:
        say(f"  {decision.at}: {decision.decision} by {decision.actor}: {decision.reason}")


@app.command(epilog=example(f"invoice explain {EXAMPLE_ID}"))
def explain(id_: Id, as_json: AsJson = False) -> None:
    """Trace every amount back to its events, its price list and its workflow."""
    answer, traced = asyncio.run(_lineage(as_id(id_)))
    if as_json:
        typer.echo(traced.text)
        return
    found, lineage = answer.read(Invoice), traced.read(Lineage)
    for line in _facts(found):
        say(line)
    for position, each in enumerate(lineage.lines, 1):
        amount = format_amount(each.line.amount, found.currency)
        say(f"{position}. {_what(each.line)}: {amount}", style="bold")
        for words in (*_arithmetic(each.line, found.currency), *_events(each)):
            say(f"     {words}")
    say(f"Total {format_amount(found.total, found.currency)}", style="bold")
    for words in _price_lists(lineage.snapshot):
        say(f"  {words}")
    say(f"  workflow {lineage.workflow_id}, run {lineage.run_id}")
    if link := workflow_link(lineage.workflow_id):
        say(f"  {link}")


@app.command(epilog=example(f"invoice lineage {EXAMPLE_ID} --export csv"))
@listed
def lineage(
    id_: Id,
    resource_type: Annotated[str | None, typer.Option(help="Only of this.")] = None,
    period: Annotated[str | None, typer.Option(help="Only of this month, as 2026-05.")] = None,
    export: Annotated[
        Format | None, typer.Option(help="Write all of them, what happened first first.")
    ] = None,
) -> Listing[CountedUsage]:
    """List the very events that an invoice bills, or those of one line."""
    path = f"{PATH}/{as_id(id_)}/lineage/events"
    query = {"resourceType": resource_type, "period": period}
    if export is not None:
        asyncio.run(_export(f"{path}/export", {**query, "format": export}))
        raise typer.Exit
    return Listing(CountedUsage, pages(path, query), EVENTS, "No events.")


@app.command(epilog=example(f"invoice verify {EXAMPLE_ID}"))
def verify(id_: Id, as_json: AsJson = False) -> None:
    """Compute it again from the raw events and the frozen price list; exit code 1 if it differs."""
    answer = asyncio.run(_recomputation(as_id(id_)))
    found = answer.read(Recomputation)
    if as_json:
        typer.echo(answer.text)
    else:
        _tell_recomputation(id_, found)
    if not found.equal:
        raise typer.Exit(1)


@app.command(epilog=example(f"invoice approve {EXAMPLE_ID} --reason 'as agreed'"))
@agreed
def approve(id_: Id, reason: Reason) -> Decision:
    """Let a draft that waits for a person be issued."""
    return _decision(id_, "approve", reason, "would be issued, and charged")


@app.command(epilog=example(f"invoice reject {EXAMPLE_ID} --reason 'a test account'"))
@agreed
def reject(id_: Id, reason: Reason) -> Decision:
    """Throw a draft that waits for a person away; its usage is free again."""
    return _decision(id_, "reject", reason, "would be thrown away, and its usage be free again")


@app.command(epilog=example(f"invoice pay {EXAMPLE_ID} --yes"))
@agreed
def pay(
    id_: Id,
    payment_method: Annotated[
        str | None, typer.Option(help="The id of a card; else the customer's default one.")
    ] = None,
) -> Decision:
    """Charge it now instead of at the next step of the ladder."""
    invoice_id = as_id(id_)
    method = None if payment_method is None else as_id(payment_method)

    async def decided(api: Api) -> Prospect:
        before = (await api.get(f"{PATH}/{invoice_id}")).read(Invoice)
        if before.status == InvoiceStatus.PAID:
            return Prospect([_stands(before)], None)
        card = "the customer's default card" if method is None else f"the card {method}"
        words = f"{_which(before)} would be charged now, to {card}."
        return Prospect([words], partial(_pay, api, before, method))

    return decided


@app.command("paid-outside", epilog=example(f"invoice paid-outside {EXAMPLE_ID} --reason 'bank'"))
@agreed
def paid_outside(id_: Id, reason: Reason) -> Decision:
    """The money came another way, e.g. by bank transfer."""
    return _decision(id_, "paid-outside", reason, "would be PAID, by money from outside")


@app.command("write-off", epilog=example(f"invoice write-off {EXAMPLE_ID} --reason bankrupt"))
@agreed
def write_off(id_: Id, reason: Reason) -> Decision:
    """Give it up: nothing is charged any more."""
    return _decision(id_, "write-off", reason, "would be given up, and nothing charged any more")


@app.command(epilog=example(f"invoice cancel {EXAMPLE_ID} --reason 'billed twice'"))
@agreed
def cancel(id_: Id, reason: Reason) -> Decision:
    """It should not have been issued: its month and its usage are free again."""
    return _decision(
        id_, "cancel", reason, "would be cancelled, and its month and its usage be free again"
    )


async def _get(id_: str) -> Answer:
    async with calling() as api:
        return await api.get(f"{PATH}/{id_}")


async def _lineage(id_: str) -> tuple[Answer, Answer]:
    async with calling() as api:
        return await api.get(f"{PATH}/{id_}"), await api.get(f"{PATH}/{id_}/lineage")


async def _export(path: str, query: Query) -> None:
    async with calling() as api:
        async for text in api.file(path, **query):
            typer.echo(text, nl=False)


async def _recomputation(id_: str) -> Answer:
    async with calling() as api:
        return await api.get(f"{PATH}/{id_}/recomputation")


def _decision(id_: str, verb: str, reason: str, would: str) -> Decision:
    path, told = f"{PATH}/{as_id(id_)}", reason_given(reason)

    async def decided(api: Api) -> Prospect:
        found = (await api.get(path)).read(Invoice)
        words = f"{_which(found)} {would}."
        return Prospect([words], partial(_decide, api, f"{path}/{verb}", told))

    return decided


async def _decide(api: Api, path: str, reason: str) -> None:
    say(_stands((await api.decided(path, {"reason": reason})).read(Invoice)))


async def _pay(api: Api, before: Invoice, method_id: str | None) -> None:
    # Each command is a wish of its own; while one charge is under way its owner begins none.
    card = {} if method_id is None else {"paymentMethodId": method_id}
    await api.wish(f"{PATH}/{before.id}/pay", card, uuid4().hex)
    found = (await api.get(f"{PATH}/{before.id}")).read(Invoice)
    if found.status != InvoiceStatus.PAID:
        why = await _why_unpaid(api, found, len(before.payment_ids))
        raise Refused(f"{_stands(found).removesuffix('.')}: {why}.")
    say(_stands(found))


async def _why_unpaid(api: Api, found: Invoice, payments_before: int) -> str:
    if len(found.payment_ids) == payments_before:
        return "there is no card that could be charged; add one, or name one"
    last = (await api.get(f"/api/v1/payments/{found.payment_ids[-1]}")).read(Payment)
    if last.status not in FINAL:
        return "the charge goes on, look again later"
    code = last.gateway_code or last.failure_code
    return f"{(last.failure_message or 'it failed').rstrip('.')} ({code})"


def _tell_recomputation(id_: str, found: Recomputation) -> None:
    for difference in found.differences:
        say(difference)
    if not found.equal:
        say(f"Invoice {id_} is not what its events and its price list say.", style="bold")
        return
    amount = format_amount(found.total, found.currency)
    say(f"Equal: the events and the price list of invoice {id_} come to {amount}, as billed.")


def _which(found: Invoice) -> str:
    amount = format_amount(found.total, found.currency)
    of = f"of {found.customer_id} for {found.period}"
    return f"The invoice of {amount} {of}, {found.status},"


def _stands(found: Invoice) -> str:
    return f"The invoice of {format_amount(found.total, found.currency)} is {found.status}."


def _facts(found: Invoice) -> Iterator[str]:
    yield f"Invoice {found.id}: {found.status}, {format_amount(found.total, found.currency)}"
    number = f"number {found.number}" if found.number else "not issued"
    yield f"  {number}, {found.period} of {found.customer_id}"
    if found.issued_at and found.due_at:
        yield f"  issued {_at(found.issued_at)}, due {_at(found.due_at)}"
    if found.next_attempt_at:
        next_at = _at(found.next_attempt_at)
        yield f"  next step of the ladder {next_at}, after {found.retries} retries"
    if found.failure_code:
        yield f"  the last charge failed: {found.gateway_code or found.failure_code}"
    if found.reason:
        yield f"  {found.reason}"
    if found.payment_ids:
        yield f"  payments {', '.join(found.payment_ids)}"


def _what(line: InvoiceLine) -> str:
    late = ", late" if line.kind == LineKind.LATE_USAGE else ""
    return f"{line.resource_type or line.kind} of {line.period}{late}"


def _arithmetic(line: InvoiceLine, currency: str) -> Iterator[str]:
    """`per unit: 5,000 × 1 KRW = 5,000 KRW`, `billed before: -300 KRW`; they add up to the line."""
    for step in line.steps:
        quantity, amount = Decimal(step.quantity), _exact(step.amount, currency)
        times = f"{_plain(quantity)} × {_exact(step.unit_price, currency)} = " if quantity else ""
        yield f"{step.label}: {times}{amount}"


def _events(made_of: LineageLine) -> Iterator[str]:
    if made_of.counted is None or made_of.first_at is None or made_of.last_at is None:
        return
    yield (
        f"{_plain(Decimal(made_of.counted))} from {made_of.events} events, "
        f"{_at(made_of.first_at)} to {_at(made_of.last_at)}"
    )
    yield f"digest {made_of.digest}"


def _price_lists(snapshot: dict[str, Any]) -> Iterator[str]:
    for month in (snapshot["month"], *snapshot["late"]):
        plan = month["plan"]
        period = Period.parse(month["period"])
        yield f"price list {plan['code']} version {plan['version']} for {period}"


def _exact(minor_units: str, currency: str) -> str:
    """An amount that may be a fraction of a minor unit."""
    amount = Decimal(minor_units).scaleb(-DECIMALS[currency])
    return f"{_plain(amount)} {currency}"


def _plain(number: Decimal) -> str:
    """Every digit, no exponent, no trailing zeros."""
    return f"{number.normalize():,f}"


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
