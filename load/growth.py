"""What it costs when there is much already, beside what it costs when there is little."""

import statistics
from collections.abc import Sequence

from load import rows
from load.connection import Connection
from load.figures import Figure, Group
from load.meter import IN_FLIGHT, Call, Meter, Series, Subject
from load.payments import OVER_HTTP, PAYMENT, Orders, floor_of, pay_by_card
from load.settlement import invoice_of_one
from load.size import Size
from load.system import System

MUCH = 1.2
LISTS = {
    "invoices of a customer, by page": "/api/v1/invoices?customerId={customer}",
    "invoices of all, by cursor": "/api/v2/invoices",
    "aged receivables": "/api/v1/aged-receivables",
}
FEW, UNPAID = 10_000, 2_000


async def measure(system: System, meter: Meter, size: Size) -> Group:
    """Payments after payments, lists of many invoices."""
    group = Group("Growth")
    await _payments(system, meter, size, group)
    await _lists(system, meter, size, group)
    return group


async def _payments(system: System, meter: Meter, size: Size, group: Group) -> None:
    ours = [Connection(system.api_port) for _ in range(IN_FLIGHT)]
    cards = Orders(ours, items=[{"sku": "UNTRACKED", "quantity": 2, "unitPrice": 1000}])
    await cards.make((len(size.payments_before) + 1) * (size.rounds + 1) * (size.together + 1))
    template = await pay_by_card(ours[0], cards.next())

    async def pay(caller: int) -> None:
        await pay_by_card(ours[caller], cards.next())

    subjects = [
        Subject(PAYMENT, pay, size.together),
        Subject(OVER_HTTP, floor_of(system), size.together),
    ]
    first, costs = 1, []
    for before in (1_000, *size.payments_before):
        await rows.of_payments(system.superuser_url, template, first, before)
        first = before + 1
        found = await meter.compare(subjects, size.rounds)
        costs.append(_cpu(found[PAYMENT]) / _cpu(found[OVER_HTTP]))
        found[PAYMENT].name += f", with {before:,} before"
        group.take(found[PAYMENT])
        if len(costs) > 1:
            name = f"CPU of a payment with {before:,} before / with 1,000, beside its floor"
            group.figures.append(Figure(name, costs[-1] / costs[0], MUCH, at_most=True))


async def _lists(system: System, meter: Meter, size: Size, group: Group) -> None:
    invoice, customer = await invoice_of_one(system)
    url = system.superuser_url
    await rows.of_invoices(url, invoice, 1, UNPAID, "ISSUED")
    await rows.of_invoices(url, invoice, UNPAID + 1, FEW, "PAID")
    asked = f"{customer}-7"
    few = await meter.compare(_subjects(system, size, asked), size.rounds)
    await rows.of_invoices(url, invoice, FEW + 1, size.invoices, "PAID")
    many = await meter.compare(_subjects(system, size, asked), size.rounds)
    for name in LISTS:
        ratio = _cpu(many[name]) / _cpu(few[name])
        title = f"{name}: CPU with {size.invoices:,} invoices / with {FEW:,}"
        group.figures.append(Figure(title, ratio, MUCH, at_most=True))
        few[name].name += f", {FEW:,} invoices"
        many[name].name += f", {size.invoices:,} invoices"
        group.take(few[name], many[name])


def _subjects(system: System, size: Size, customer: str) -> Sequence[Subject]:
    ours = [Connection(system.api_port) for _ in range(IN_FLIGHT)]

    def get(path: str) -> Call:
        async def one(caller: int) -> None:
            await ours[caller].send("GET", path, expect=200)

        return one

    return [
        Subject(name, get(path.format(customer=customer)), 2 * size.together, size.alone)
        for name, path in LISTS.items()
    ]


def _cpu(series: Series) -> float:
    return statistics.median(series.cpu_totals)
