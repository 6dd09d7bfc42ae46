"""`billing invoice`: what an invoice says and why, and what a person decides about it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import uuid4

import typer

from api.invoice_document import (
    Invoice,
    InvoiceCrawl,
    InvoiceLine,
    Lineage,
    LineageLine,
    Recomputation,
)
from api.payment import Payment
from cli.calling import Answer, Api, calling
from cli.system import Refused, as_id, workflow_link
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


@app.command("list")
def list_(
    status: Annotated[
        InvoiceStatus | None, typer.Option(help="Only those, e.g. AWAITING_APPROVAL.")
    ] = None,
    customer_id: Annotated[str | None, typer.Option("--customer", help="Only this one's.")] = None,
) -> None:
    """List invoices and drafts, oldest first."""
    if not asyncio.run(_list(status, customer_id)):
        say("No invoices.")


@app.command()
def show(
    id_: Id,
    as_json: Annotated[bool, typer.Option("--json", help="For programs, as the API says it.")] = (
        False
    ),
) -> None:
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


@app.command()
def explain(id_: Id) -> None:
    """Trace every amount back to its events, its price list and its workflow."""
    found, lineage = asyncio.run(_lineage(as_id(id_)))
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


@app.command()
def verify(id_: Id) -> None:
    """Compute it again from the raw events and the frozen price list; exit code 1 if it differs."""
    found = asyncio.run(_recomputation(as_id(id_)))
    for difference in found.differences:
        say(difference)
    if not found.equal:
        say(f"Invoice {id_} is not what its events and its price list say.", style="bold")
        raise typer.Exit(1)
    amount = format_amount(found.total, found.currency)
    say(f"Equal: the events and the price list of invoice {id_} come to {amount}, as billed.")


@app.command()
def approve(id_: Id, reason: Reason) -> None:
    """Let a draft that waits for a person be issued."""
    say(asyncio.run(_decide(as_id(id_), "approve", reason_given(reason))))


@app.command()
def reject(id_: Id, reason: Reason) -> None:
    """Throw a draft that waits for a person away; its usage is free again."""
    say(asyncio.run(_decide(as_id(id_), "reject", reason_given(reason))))


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
    say(asyncio.run(_decide(as_id(id_), "paid-outside", reason_given(reason))))


@app.command("write-off")
def write_off(id_: Id, reason: Reason) -> None:
    """Give it up: nothing is charged any more."""
    say(asyncio.run(_decide(as_id(id_), "write-off", reason_given(reason))))


@app.command()
def cancel(id_: Id, reason: Reason) -> None:
    """It should not have been issued: its month and its usage are free again."""
    say(asyncio.run(_decide(as_id(id_), "cancel", reason_given(reason))))


async def _list(status: InvoiceStatus | None, customer_id: str | None) -> int:
    """Tell each as it comes; returns how many there are."""
    count, cursor = 0, None
    async with calling() as api:
        while True:
            answer = await api.get(
                "/api/v2/invoices", status=status, customerId=customer_id, cursor=cursor
            )
            page = answer.read(InvoiceCrawl)
            for each in page.items:
                amount = format_amount(each.total, each.currency)
                say(f"{each.id} {each.status}: {each.period} of {each.customer_id}, {amount}")
                if each.reason:
                    say(f"  {each.reason}")
            count += len(page.items)
            if (cursor := page.next_cursor) is None:
                return count


async def _get(id_: str) -> Answer:
    async with calling() as api:
        return await api.get(f"{PATH}/{id_}")


async def _lineage(id_: str) -> tuple[Invoice, Lineage]:
    async with calling() as api:
        found = await api.get(f"{PATH}/{id_}")
        lineage = await api.get(f"{PATH}/{id_}/lineage")
    return found.read(Invoice), lineage.read(Lineage)


async def _recomputation(id_: str) -> Recomputation:
    async with calling() as api:
        return (await api.get(f"{PATH}/{id_}/recomputation")).read(Recomputation)


async def _decide(id_: str, decision: str, reason: str) -> str:
    async with calling() as api:
        answer = await api.decided(f"{PATH}/{id_}/{decision}", {"reason": reason})
    return _stands(answer.read(Invoice))


async def _pay(id_: str, method_id: str | None) -> str:
    async with calling() as api:
        before = (await api.get(f"{PATH}/{id_}")).read(Invoice)
        if before.status == InvoiceStatus.PAID:
            return _stands(before)
        # Each command is a wish of its own; while one charge is under way its owner begins none.
        card = {} if method_id is None else {"paymentMethodId": method_id}
        await api.wish(f"{PATH}/{id_}/pay", card, uuid4().hex)
        found = (await api.get(f"{PATH}/{id_}")).read(Invoice)
        if found.status == InvoiceStatus.PAID:
            return _stands(found)
        why = await _why_unpaid(api, found, len(before.payment_ids))
    raise Refused(f"{_stands(found).removesuffix('.')}: {why}.")


async def _why_unpaid(api: Api, found: Invoice, payments_before: int) -> str:
    if len(found.payment_ids) == payments_before:
        return "there is no card that could be charged; add one, or name one"
    last = (await api.get(f"/api/v1/payments/{found.payment_ids[-1]}")).read(Payment)
    if last.status not in FINAL:
        return "the charge goes on, look again later"
    code = last.gateway_code or last.failure_code
    return f"{(last.failure_message or 'it failed').rstrip('.')} ({code})"


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
