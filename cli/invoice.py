"""`billing invoice`: what an invoice says and why, and what a person decides about it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import uuid4

import typer
from sqlalchemy import Row

from api.invoices import Decision, Invoice, document
from cli.owner import WAIT, hand_over, update_id
from cli.system import Refused, System, as_id, connected
from cli.words import reason_given, say
from domain.decision import Decided
from domain.invoice import GAVE_BACK, OPEN, CloseRequest, Closing, InvoiceStatus, closed
from domain.money import DECIMALS, format_amount
from domain.payment import FINAL, PaymentStatus
from domain.period import Period
from domain.pricing_snapshot import LineKind
from domain.settlement import Verdict, judged
from service.recomputation import differences
from store import customer, invoice, payment
from store.database import BATCH_SECONDS
from workflows.invoice_retry import invoice_workflow_id

ACTOR = "operator"
LOOK_SECONDS = 0.1
PAGE = 200
BEGINS_WITHIN_SECONDS = 2
"""When a charge can begin at all, its row is there by then."""

app = typer.Typer(help="Look at invoices and decide about them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Of an invoice.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the invoice.")]


@dataclass(frozen=True)
class Lineage:
    """An invoice with everything that its amounts come from."""

    row: Row[Any]
    document: Invoice
    lines: list[Row[Any]]
    aggregates: dict[tuple[str, str], Row[Any]]
    link: str | None


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
    for each in found.lines:
        what = _what(each.kind, each.resource_type, each.period)
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


async def _lineage(id_: str) -> Lineage:
    async with connected() as system, system.reads.connect() as tx:
        row = _found(await invoice.find(tx, id_), id_)
        aggregates = await invoice.aggregates(tx, id_)
        return Lineage(
            row,
            await document(tx, row),
            list(await invoice.lines(tx, id_)),
            {(each.resource_type, each.period): each for each in aggregates},
            system.link(row.workflow_id),
        )


async def _list(status: InvoiceStatus | None, customer_id: str | None) -> list[Row[Any]]:
    found: list[Row[Any]] = []
    position = None
    async with connected() as system, system.reads.connect() as tx:
        while page := await invoice.after(tx, customer_id, status, position, PAGE):
            found += page
            position = (page[-1].created_at, page[-1].id)
    return found


async def _verify(id_: str) -> tuple[Row[Any], list[str]]:
    async with connected(BATCH_SECONDS) as system, system.reads.connect() as tx:
        row = _found(await invoice.find(tx, id_), id_)
        if row.status in GAVE_BACK:
            was = row.status.lower()
            raise Refused(f"The invoice was {was}: its usage is free, and nothing is billed.")
        if row.status == InvoiceStatus.DRAFT.value:
            raise Refused(f"The draft is not ready: {row.reason or 'it is being made'}.")
        return row, await differences(tx, row)


async def _decide(id_: str, approved: bool, reason: str) -> str:
    verdict = Verdict(approved, reason, ACTOR)
    words = f"{id_} {verdict.decision}: {reason}"

    async def update(system: System, row: Row[Any]) -> None:
        nothing_waits = Refused(f"Nothing waits for a decision: the invoice is {row.status}.")
        workflow_id = row.workflow_id
        await hand_over(
            system.temporal, workflow_id, "decide", verdict, words, lambda: nothing_waits
        )

    return await _decided(id_, update, words, judged)


async def _pay(id_: str, method_id: str | None) -> str:
    failures: list[str] = []
    async with connected() as system:
        row = await _row(system, id_)
        if row.status != InvoiceStatus.PAID:
            failures = await _charge(system, row, method_id)
            row = await _row(system, id_)
    if failures:
        raise Refused(f"{_stands(row).removesuffix('.')}: {failures[0]}.")
    return _stands(row)


async def _charge(system: System, row: Row[Any], method_id: str | None) -> list[str]:
    """Ask its owner to, and wait; why it was not paid, if so."""
    async with system.reads.connect() as tx:
        before = len(await payment.of_payable(tx, row.id))
        card = await customer.payment_method(tx, row.customer_id, method_id)
    if method_id is not None and card is None:
        raise Refused(f"{row.customer_id} has no card with the id {method_id}.")
    # Each command is an Update of its own; while one charge is under way its owner begins none.
    await _to_owner(system, row, "pay", method_id, f"{row.id} pay {uuid4()}")
    return await _failure(system, row.id, before)


async def _close(id_: str, closing: Closing, reason: str) -> str:
    request = CloseRequest(closing, reason, ACTOR)
    words = f"{id_} {closing}: {reason}"

    async def update(system: System, row: Row[Any]) -> None:
        await _to_owner(system, row, "close", request, words)

    return await _decided(id_, update, words, closed)


async def _decided(
    id_: str,
    update: Callable[[System, Row[Any]], Awaitable[None]],
    words: str,
    decided: Decision,
) -> str:
    """Hand a decision over unless one was made, and say how the invoice stands then. Raises
    `Refused` where that was another than the one in these words."""

    def made(row: Row[Any]) -> Decided | None:
        return decided(InvoiceStatus(row.status), row.decisions)

    async with connected() as system:
        row = await _row(system, id_)
        if made(row) is None:
            refusal = await _refusal(update(system, row))
            row = await _row(system, id_)
            if refusal is not None and made(row) is None:
                raise refusal
    before = made(row)
    if before is not None and before.update_id != update_id(words):
        raise Refused(f"The invoice is {before.words}.")
    return _stands(row)


async def _refusal(update: Awaitable[None]) -> Refused | None:
    try:
        await update
    except Refused as refusal:
        return refusal
    return None


def _stands(row: Row[Any]) -> str:
    return f"The invoice of {format_amount(row.total, row.currency)} is {row.status}."


async def _to_owner(
    system: System, row: Row[Any], update: str, argument: object, words: str
) -> None:
    refusal = Refused(f"The invoice is {row.status}.")
    if row.status not in OPEN:
        raise refusal
    workflow_id = invoice_workflow_id(row.id)
    await hand_over(system.temporal, workflow_id, update, argument, words, lambda: refusal)


async def _failure(system: System, id_: str, before: int) -> list[str]:
    """Wait for the end of the charge for as long as a person waits; why it was not paid, if so.
    `before`: how many payments there were."""
    begun = False
    for looks in range(int(WAIT.total_seconds() / LOOK_SECONDS)):
        async with system.reads.connect() as tx:
            paid = await payment.of_payable(tx, id_)
        if any(each.status == PaymentStatus.COMPLETED.value for each in paid):
            return []
        under_way = any(PaymentStatus(each.status) not in FINAL for each in paid)
        begun = begun or under_way or len(paid) > before
        if begun and not under_way:
            break
        if not begun and looks * LOOK_SECONDS > BEGINS_WITHIN_SECONDS:
            return ["there is no card that could be charged; add one, or name one"]
        await asyncio.sleep(LOOK_SECONDS)
    else:
        return ["the charge goes on, look again later"]
    last = paid[-1]
    code = last.gateway_code or last.failure_code
    return [f"{(last.failure_message or 'it failed').rstrip('.')} ({code})"]


async def _row(system: System, id_: str) -> Row[Any]:
    async with system.reads.connect() as tx:
        return _found(await invoice.find(tx, id_), id_)


def _found(row: Row[Any] | None, id_: str) -> Row[Any]:
    if row is None:
        raise Refused(f"There is no invoice with the id {id_}.")
    return row


def _facts(found: Lineage) -> Iterator[str]:
    row = found.row
    yield f"Invoice {row.id}: {row.status}, {_sum(row.total, found)}"
    number = f"number {row.number}" if row.number else "not issued"
    yield f"  {number}, {row.period} of {row.customer_id}"
    if row.issued_at:
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


def _arithmetic(line: Row[Any], currency: str) -> Iterator[str]:
    """`per unit: 5,000 × 1 KRW = 5,000 KRW`, `billed before: -300 KRW`; they add up to the line."""
    for step in line.steps:
        quantity, amount = Decimal(step["quantity"]), _exact(step["amount"], currency)
        times = f"{_plain(quantity)} × {_exact(step['unitPrice'], currency)} = " if quantity else ""
        yield f"{step['label']}: {times}{amount}"


def _events(line: Row[Any], found: Lineage) -> Iterator[str]:
    made_of = found.aggregates.get((line.resource_type, line.period))
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


def _exact(minor_units: str, currency: str) -> str:
    """An amount that may be a fraction of a minor unit."""
    amount = Decimal(minor_units).scaleb(-DECIMALS[currency])
    return f"{_plain(amount)} {currency}"


def _plain(number: Decimal) -> str:
    """Every digit, no exponent, no trailing zeros."""
    return f"{number.normalize():,f}"


def _sum(amount: int, found: Lineage) -> str:
    return format_amount(amount, found.row.currency)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
