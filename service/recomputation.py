"""Whether an invoice is what its events and its price list say, found out from the beginning."""

from collections.abc import Iterator, Sequence

from domain.invoice import Invoice, InvoiceLine
from domain.pricing_snapshot import PricedInvoice, PricingSnapshot, price_invoice
from domain.usage import Aggregate
from store import customer, invoice, usage
from store.database import Transaction


async def differences(tx: Transaction, row: Invoice) -> list[str]:
    """Where the invoice and its recomputation differ, one sentence each; empty when nowhere.

    The aggregates are made of the raw events again, the amounts of the price list that is frozen
    into the invoice, whatever happened to either since.
    """
    snapshot = PricingSnapshot.from_json(row.snapshot)
    counted = await usage.aggregates(tx, row.id, await zone_of(tx, row))
    stored = await invoice.aggregates(tx, row.id)
    return [
        *_of_aggregates(counted, stored),
        *_of_quantities(counted, snapshot),
        *_of_amounts(row.total, await invoice.lines(tx, row.id), price_invoice(snapshot)),
    ]


async def zone_of(tx: Transaction, row: Invoice) -> str:
    """By whose clock its events were put into months."""
    frozen = PricingSnapshot.from_json(row.snapshot).time_zone
    if frozen is not None:
        return frozen
    whose = await customer.find(tx, row.customer_id)
    return "UTC" if whose is None else whose.time_zone


def _of_aggregates(counted: Sequence[Aggregate], stored: Sequence[Aggregate]) -> Iterator[str]:
    """What the raw events say against what was noted when the invoice was made."""
    now = {(str(each.period), each.resource_type): each for each in counted}
    then = {(str(each.period), each.resource_type): each for each in stored}
    for period, resource in sorted({*now, *then}):
        event, note = now.get((period, resource)), then.get((period, resource))
        what = f"{resource} of {period}"
        if event is None:
            yield f"{what}: the invoice names it, but it has no events."
        elif note is None:
            yield f"{what}: it has {event.events} events, but the invoice does not name them."
        else:
            for name in ("quantity", "events", "first_at", "last_at", "digest"):
                was, found = getattr(note, name), getattr(event, name)
                if was != found:
                    label = name.replace("_at", " event at")
                    yield f"{what}: the {label} is {found}, but the invoice says {was}."


def _of_quantities(counted: Sequence[Aggregate], snapshot: PricingSnapshot) -> Iterator[str]:
    """What the raw events say against what was priced."""
    priced = {
        (month.period, metered.resource_type): metered.quantity
        for month in (snapshot.month, *snapshot.late)
        for metered in month.usage
    }
    for each in counted:
        quantity = priced.get((each.period, each.resource_type), 0)
        if quantity != each.quantity:
            what = f"{each.resource_type} of {each.period}"
            yield f"{what}: {each.quantity} were counted, but {quantity} were priced."


def _of_amounts(total: int, lines: Sequence[InvoiceLine], priced: PricedInvoice) -> Iterator[str]:
    """What the frozen price list says against what is billed."""
    yield from of_lines(lines, priced)
    for words, found in (
        ("lines come", sum(line.amount for line in lines)),
        ("price list comes", priced.total),
    ):
        if found != total:
            yield f"The {words} to {found}, but the total is {total}."


def of_lines(lines: Sequence[InvoiceLine], priced: PricedInvoice) -> Iterator[str]:
    """The same line by line."""
    if len(lines) != len(priced.lines):
        yield f"The invoice has {len(lines)} lines, but its price list makes {len(priced.lines)}."
    for line, again in zip(lines, priced.lines, strict=False):
        what = (line.kind, line.resource_type, line.period, line.quantity, line.amount)
        repriced = (again.kind, again.resource_type, again.period)
        if what != (*repriced, again.quantity, again.amount):
            name = f"{again.resource_type or again.kind} of {again.period}"
            yield (
                f"Line {line.position}: {name} comes to {again.amount} for {again.quantity:f}, "
                f"but {line.amount} for {line.quantity:f} are billed."
            )
