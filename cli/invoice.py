"""`billing invoice`: what an invoice says and why, and what a person decides about it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import uuid4

import typer

from api.invoice_document import Invoice, document
from cli.system import Refused, as_id, call, connected, decided
from cli.words import reason_given, say
from domain import invoice as rules
from domain.access import OPERATOR, SYSTEM
from domain.invoice import GAVE_BACK, Closing, InvoiceStatus
from domain.money import DECIMALS, format_amount
from domain.payment import FINAL
from domain.period import Period
from domain.pricing_snapshot import LineKind
from service import invoice
from service.call import Answer
from service.invoice import InvoiceRecord, Lineage
from service.recomputation import differences
from store.database import BATCH_SECONDS

app = typer.Typer(help="Look at invoices and decide about them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Of an invoice.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the invoice.")]


@dataclass(frozen=True)
class Traced:
    """An invoice with everything that its amounts come from."""

    lineage: Lineage
    document: Invoice
    link: str | None

    @property
    def row(self) -> rules.Invoice:
        return self.lineage.record.invoice


@app.command("list")
def list_(
    status: Annotated[
        InvoiceStatus | None, typer.Option(help="Only those, e.g. AWAITING_APPROVAL.")
    ] = None,
    customer_id: Annotated[str | None, typer.Option("--customer", help="Only this one's.")] = None,
) -> None:
    """List invoices and drafts, oldest first."""
    found = asyncio.run(_list(status, customer_id))
    if not found:
        say("No invoices.")
    for row in found:
        amount = format_amount(row.total, row.currency)
        say(f"{row.id} {row.status}: {row.period} of {row.customer_id}, {amount}")
        if row.reason:
            say(f"  {row.reason}")


@app.command()
def show(
    id_: Id,
    as_json: Annotated[bool, typer.Option("--json", help="For programs, as the API says it.")] = (
        False
    ),
) -> None:
    """Show an invoice as it stands."""
    found = asyncio.run(_lineage(as_id(id_)))
    if as_json:
        typer.echo(found.document.model_dump_json(by_alias=True))
        return
    for fact in _facts(found):
        say(fact)
    for line in found.document.lines:
        what = _what(line.kind, line.resource_type, line.period)
        say(f"  {what:40} {line.quantity:>16} {_sum(line.amount, found):>20}")
    for decision in found.document.decisions:
        say(f"  {decision.at}: {decision.decision} by {decision.actor}: {decision.reason}")


@app.command()
def explain(id_: Id) -> None:
    """Trace every amount back to its events, its price list and its workflow."""
    found = asyncio.run(_lineage(as_id(id_)))
    for line in _facts(found):
        say(line)
    for each in found.lineage.record.lines:
        what = _what(each.kind, each.resource_type, str(each.period))
        say(f"{each.position}. {what}: {_sum(each.amount, found)}", style="bold")
        for words in (*_arithmetic(each, found.row.currency), *_events(each, found)):
            say(f"     {words}")
    say(f"Total {_sum(found.row.total, found)}", style="bold")
    for words in _price_lists(found.row.snapshot):
        say(f"  {words}")
    say(f"  workflow {found.row.workflow_id}, run {found.row.run_id}")
    if found.link:
        say(f"  {found.link}")


@app.command()
def verify(id_: Id) -> None:
    """Compute it again from the raw events and the frozen price list; exit code 1 if it differs."""
    row, found = asyncio.run(_verify(as_id(id_)))
    for difference in found:
        say(difference)
    if found:
        say(f"Invoice {row.id} is not what its events and its price list say.", style="bold")
        raise typer.Exit(1)
    amount = format_amount(row.total, row.currency)
    say(f"Equal: the events and the price list of invoice {row.id} come to {amount}, as billed.")


@app.command()
def approve(id_: Id, reason: Reason) -> None:
    """Let a draft that waits for a person be issued."""
    say(asyncio.run(_decide(as_id(id_), True, reason_given(reason))))


@app.command()
def reject(id_: Id, reason: Reason) -> None:
    """Throw a draft that waits for a person away; its usage is free again."""
    say(asyncio.run(_decide(as_id(id_), False, reason_given(reason))))


@app.command()
def pay(
    id_: Id,
    payment_method: Annotated[
        str | None, typer.Option(help="The id of a card; else the customer's default one.")
    ] = None,
) -> None:
    """Charge it now instead of at the next step of the ladder."""
    method = None if payment_method is None else as_id(payment_method)
    say(asyncio.run(_pay(as_id(id_), method)))


@app.command("paid-outside")
def paid_outside(id_: Id, reason: Reason) -> None:
    """The money came another way, e.g. by bank transfer."""
    say(asyncio.run(_close(as_id(id_), Closing.PAID_OUTSIDE, reason_given(reason))))


@app.command("write-off")
def write_off(id_: Id, reason: Reason) -> None:
    """Give it up: nothing is charged any more."""
    say(asyncio.run(_close(as_id(id_), Closing.WRITE_OFF, reason_given(reason))))


@app.command()
def cancel(id_: Id, reason: Reason) -> None:
    """It should not have been issued: its month and its usage are free again."""
    say(asyncio.run(_close(as_id(id_), Closing.CANCEL, reason_given(reason))))


async def _lineage(id_: str) -> Traced:
    async with connected() as system:
        found = await invoice.lineage(system.desk, OPERATOR, id_)
        link = system.link(found.record.invoice.workflow_id)
        return Traced(found, document(found.record), link)


async def _list(status: InvoiceStatus | None, customer_id: str | None) -> list[rules.Invoice]:
    async with connected() as system:
        return [each async for each in invoice.every(system.desk, status, customer_id)]


async def _verify(id_: str) -> tuple[rules.Invoice, list[str]]:
    async with connected(BATCH_SECONDS) as system, system.desk.database.read(SYSTEM) as tx:
        row = await invoice.found(tx, id_)
        if row.status in GAVE_BACK:
            was = row.status.lower()
            raise Refused(f"The invoice was {was}: its usage is free, and nothing is billed.")
        if row.status is InvoiceStatus.DRAFT:
            raise Refused(f"The draft is not ready: {row.reason or 'it is being made'}.")
        return row, await differences(tx, row)


async def _decide(id_: str, approved: bool, reason: str) -> str:
    decision = "invoice approve" if approved else "invoice reject"
    async with connected() as system:
        answer = await invoice.decide(
            system.desk, call(decision, id_, reason), id_, approved=approved, reason=reason
        )
    return _stands(decided(answer).invoice)


async def _close(id_: str, closing: Closing, reason: str) -> str:
    asked = call("invoice close", id_, closing, reason)
    async with connected() as system:
        closed = await invoice.close(system.desk, asked, id_, closing, reason)
    return _stands(decided(closed).invoice)


async def _pay(id_: str, method_id: str | None) -> str:
    # Each command is a wish of its own; while one charge is under way its owner begins none.
    asked = call("invoice pay", id_, str(uuid4()))
    async with connected() as system:
        found = await invoice.get(system.desk, OPERATOR, id_)
        before = len(found.payments)
        if found.invoice.status != InvoiceStatus.PAID:
            paid = await invoice.pay(system.desk, asked, id_, method_id)
            assert isinstance(paid, Answer), "no command keeps an answer"
            found = paid.value
    words = _stands(found.invoice)
    if found.invoice.status == InvoiceStatus.PAID:
        return words
    raise Refused(f"{words.removesuffix('.')}: {_why_unpaid(found, before)}.")


def _why_unpaid(found: InvoiceRecord, payments_before: int) -> str:
    if any(each.status not in FINAL for each in found.payments):
        return "the charge goes on, look again later"
    if len(found.payments) == payments_before:
        return "there is no card that could be charged; add one, or name one"
    last = found.payments[-1]
    code = last.gateway_code or last.failure_code
    return f"{(last.failure_message or 'it failed').rstrip('.')} ({code})"


def _stands(row: rules.Invoice) -> str:
    return f"The invoice of {format_amount(row.total, row.currency)} is {row.status}."


def _facts(found: Traced) -> Iterator[str]:
    row = found.row
    yield f"Invoice {row.id}: {row.status}, {_sum(row.total, found)}"
    number = f"number {row.number}" if row.number else "not issued"
    yield f"  {number}, {row.period} of {row.customer_id}"
    if row.issued_at and row.due_at:
        yield f"  issued {_at(row.issued_at)}, due {_at(row.due_at)}"
    if row.next_attempt_at:
        yield f"  next step of the ladder {_at(row.next_attempt_at)}, after {row.retries} retries"
    if found.document.failure_code:
        code = found.document.gateway_code or found.document.failure_code
        yield f"  the last charge failed: {code}"
    if row.reason:
        yield f"  {row.reason}"
    if found.document.payment_ids:
        yield f"  payments {', '.join(found.document.payment_ids)}"


def _what(kind: str, resource_type: str | None, period: str) -> str:
    late = ", late" if kind == LineKind.LATE_USAGE else ""
    return f"{resource_type or kind} of {period}{late}"


def _arithmetic(line: rules.InvoiceLine, currency: str) -> Iterator[str]:
    """`per unit: 5,000 × 1 KRW = 5,000 KRW`, `billed before: -300 KRW`; they add up to the line."""
    for step in line.steps:
        quantity, amount = step.quantity, _exact(step.amount, currency)
        times = f"{_plain(quantity)} × {_exact(step.unit_price, currency)} = " if quantity else ""
        yield f"{step.label}: {times}{amount}"


def _events(line: rules.InvoiceLine, found: Traced) -> Iterator[str]:
    made_of = found.lineage.aggregates.get((line.resource_type, line.period))
    if made_of is None:
        return
    yield (
        f"{_plain(made_of.quantity)} from {made_of.events} events, "
        f"{_at(made_of.first_at)} to {_at(made_of.last_at)}"
    )
    yield f"digest {made_of.digest}"


def _price_lists(snapshot: dict[str, Any]) -> Iterator[str]:
    for month in (snapshot["month"], *snapshot["late"]):
        plan = month["plan"]
        period = Period.parse(month["period"])
        yield f"price list {plan['code']} version {plan['version']} for {period}"


def _exact(minor_units: Decimal, currency: str) -> str:
    """An amount that may be a fraction of a minor unit."""
    amount = minor_units.scaleb(-DECIMALS[currency])
    return f"{_plain(amount)} {currency}"


def _plain(number: Decimal) -> str:
    """Every digit, no exponent, no trailing zeros."""
    return f"{number.normalize():,f}"


def _sum(amount: int, found: Traced) -> str:
    return format_amount(amount, found.row.currency)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
