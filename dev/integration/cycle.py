"""Steps: one cycle from usage to money, with everybody who takes part in it."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from dev import process
from dev.demo import books, month
from dev.demo.payments import DECLINED_CARD, GOOD_CARD, krw
from dev.demo.scenario import Step
from dev.demo.shop import CURRENCY
from dev.demo.verdict import expect
from dev.integration import installation, producers
from dev.integration.notifier import SUBJECTS
from dev.integration.town import OPERATOR, Town
from domain import ledger
from domain.access import SYSTEM
from domain.event import Topic
from domain.invoice import InvoiceStatus
from domain.period import Period
from domain.roles import Role
from store import outbox

MARKETPLACE = "marketplace"
PAYING, LATE = "northwind", "initech"
"""One whose card is good, and one whose card is declined; who logs in for it has its name."""
PLAN = "gpu-market"
SINCE = "2020-01-01T00:00:00Z"
PRICES = {"API_CALL": 1, "GPU_HOUR": 2_500}
TOTAL = producers.EVENTS * (producers.CALLS * 1 + producers.HOURS * 2_500)
OURS = 3
"""The issuer, the API and the worker, in front of whoever else runs."""


async def open_accounts(town: Town) -> None:
    """An operator sets prices, and makes two customers with a card each."""
    charges = [
        {"resourceType": name, "model": "PER_UNIT", "unitPrice": str(price)}
        for name, price in PRICES.items()
    ]
    prices = {"currency": CURRENCY, "effectiveFrom": SINCE, "charges": charges}
    await town.shop.put(f"/api/v1/pricing-plans/{PLAN}", prices)
    for name, card in ((PAYING, GOOD_CARD), (LATE, DECLINED_CARD)):
        # Due at once, so that nobody waits for days here.
        terms = {"planCode": PLAN, "planFrom": SINCE, "dueDays": 0}
        await town.shop.put(f"/api/v1/customers/{name}", terms)
        await _card(town, name, card)
    town.tell(f"{PAYING} has a good card, {LATE} one without money. Invoices are due at once.")


async def refuse(town: Town) -> None:
    """No token, the wrong role, another's things."""
    path = f"/api/v1/invoices?customerId={PAYING}"
    expect("without a token", (await town.stranger.get(path)).status_code, 401)
    service = await town.let_in(MARKETPLACE, Role.SERVICE)
    settling = await service.post(_settlement(PAYING), {})
    expect("a service that settles a month", settling.status_code, 403)
    late = await town.let_in(LATE, Role.CUSTOMER, LATE)
    top_up = {"amount": 1_000, "currency": CURRENCY, "customerId": PAYING}
    expect("another's wallet", (await late.post("/api/v1/wallet/top-ups", top_up)).status_code, 404)
    town.tell("No token: 401. A service may not settle a month: 403. Another's wallet: 404.")


async def report_usage(town: Town) -> None:
    """Both producers report for both customers, and each sends an event twice."""
    service = town.shops[MARKETPLACE]
    brokers = town.stack.endpoints.kafka_bootstrap_servers
    for name in (PAYING, LATE):
        calls = producers.events(name, _month(), "API_CALL", producers.CALLS)
        await producers.over_http(service, calls)
        hours = producers.events(name, _month(), "GPU_HOUR", producers.HOURS)
        await producers.on_kafka(brokers, hours)
    for name in (PAYING, LATE):
        counted = await _counted(town, name)
        expect(f"events of {name}", counted, dict.fromkeys(PRICES, producers.EVENTS))
    town.tell(f"{producers.EVENTS} events over HTTP and {producers.EVENTS} on Kafka for each")
    town.tell("customer, one of each sent twice: each counts once.")


async def collect(town: Town) -> None:
    """A month becomes an invoice, and the invoice money; the customer hears of all of it."""
    invoice = await _settled(town, PAYING, InvoiceStatus.PAID)
    town.told += [invoice["id"], *invoice["paymentIds"]]
    for topic in (Topic.INVOICE_CREATED, Topic.PAYMENT_COMPLETED, Topic.INVOICE_PAID):
        [subject] = await town.mails(PAYING, topic)
        town.tell(f"Mail to {PAYING}: {subject}")


async def fall_overdue(town: Town) -> None:
    """The charge is declined after the due date: reminders go out while the ladder is climbed."""
    invoice = await _settled(town, LATE, InvoiceStatus.OVERDUE)
    town.told.append(invoice["id"])
    [subject] = await town.mails(LATE, Topic.INVOICE_OVERDUE)
    town.tell(f"Mail to {LATE}: {subject}")
    for subject in await town.mails(LATE, Topic.OVERDUE_NOTICE, count=2):
        town.tell(f"Mail to {LATE}: {subject}")
    town.tell("The first charge and the first retry were declined; the next one is in an hour.")


async def change_every_key(town: Town) -> None:
    """While the invoice is open: every key and secret is another one, and everybody starts anew."""
    leaked = town.logins[OPERATOR].token
    reason = ("--reason", "the key has leaked")
    await month.command(town, *reason, "auth", "rotate-keys", "--leaked")
    before = town.ours[:OURS]
    del town.ours[:OURS]
    await asyncio.to_thread(process.stop, before)
    town.environment = installation.in_front(installation.fresh_secrets("second"), town.environment)
    after = installation.start(town.stack, town.ports, town.environment, generation=2)
    town.ours[:0] = after

    async def ready() -> bool:
        return all(each.ready() for each in after)

    await town.until("the installation is ready again", ready)
    shown = {"Authorization": f"Bearer {leaked}"}
    answer = await town.stranger.get("/api/v1/invoices", headers=shown)
    expect("what the withdrawn key has signed", answer.status_code, 401)
    await town.shop.get("/api/v1/invoices")
    expect("the operator's token is another one", town.logins[OPERATOR].token == leaked, False)
    town.tell("What the withdrawn key has signed: 401. Whoever logs in again is let in.")


async def pay_late(town: Town) -> None:
    """The customer pays with another card what was begun before every key was changed."""
    card = await _card(town, LATE, GOOD_CARD)
    path = f"/api/v1/invoices/{town.told[-1]}"
    answer = await town.shops[LATE].post(f"{path}/pay", {"paymentMethodId": card})
    expect("the status of the payment", answer.status_code, 200)
    paid = answer.json()
    expect("the invoice", (paid["status"], paid["total"]), (InvoiceStatus.PAID, TOTAL))
    town.told += paid["paymentIds"]
    [subject] = await town.mails(LATE, Topic.INVOICE_PAID)
    town.tell(f"{len(paid['paymentIds'])} charges, the last one took the money.")
    town.tell(f"Mail to {LATE}: {subject}")


async def compare(town: Town) -> None:
    """Every event that customers hear of was told once, and the books agree."""
    async with town.desk.database.read(SYSTEM) as tx:
        rows = await outbox.of_aggregates(tx, town.told)
    to_tell = {f"<{row.event_id}@example.com>" for row in rows if row.topic in SUBJECTS}

    async def told() -> bool:
        return to_tell <= {str(mail["Message-ID"]) for mail in town.mailbox.received}

    await town.until("every mail has come", told)
    came = Counter(str(mail["Message-ID"]) for mail in town.mailbox.received)
    expect("mails", came, Counter(dict.fromkeys(to_tell, 1)))
    town.tell(f"{len(to_tell)} events that customers hear of, {came.total()} mails: one for each.")
    balances = await books.ledger_balances(town)
    expect("the sum of all postings", sum(balances.values()), 0)
    captured = (await town.shop.book())["totals"][CURRENCY]["captured"]
    expect("what the gateway took", captured, 2 * TOTAL)
    expect("the ledger on the gateway", -balances[ledger.gateway("simulator")], captured)
    town.tell(f"The gateway's own book and the ledger: {krw(captured)}, two invoices.")


async def _settled(town: Town, name: str, status: InvoiceStatus) -> dict[str, Any]:
    """The invoice of a customer's month, once it is collected or overdue."""
    answer = await town.shop.post(_settlement(name), {})
    expect("the settlement", (answer.status_code, answer.json().get("status")), (201, "SETTLED"))
    path = f"/api/v1/invoices/{answer.json()['invoice']['id']}"

    async def there() -> dict[str, Any] | None:
        found: dict[str, Any] = await town.shop.get(path)
        return found if found["status"] != InvoiceStatus.ISSUED else None

    invoice = await town.until(f"the invoice of {name} is {status}", there)
    assert invoice is not None, "until it is there"
    expect("the invoice", (invoice["status"], invoice["total"]), (status, TOTAL))
    town.tell(f"{name}: {krw(TOTAL)} for {_month()}, {status}.")
    return invoice


async def _counted(town: Town, name: str) -> dict[str, int]:
    """Events by resource, once those from Kafka are among them."""

    async def all_there() -> dict[str, int] | None:
        found = await town.shop.get(f"/api/v1/usage?customerId={name}&limit=100")
        counted = Counter(each["resourceType"] for each in found["items"])
        return dict(counted) if counted.total() >= producers.EVENTS * len(PRICES) else None

    return await town.until(f"usage of {name} is counted", all_there) or {}


async def _card(town: Town, name: str, number: str) -> str:
    body = {"billingKey": f"bk_{number}", "last4": number[-4:]}
    answer = await town.shop.post(f"/api/v1/customers/{name}/payment-methods", body)
    expect("the status of a new card", answer.status_code, 201)
    return str(answer.json()["id"])


def _month() -> Period:
    """The one before this."""
    return Period.containing(datetime.now(UTC), "UTC").previous()


def _settlement(name: str) -> str:
    return f"/api/v1/settlement/run?customerId={name}&period={_month()}"


STEPS = (
    Step("Prices, and two customers", open_accounts),
    Step("Whoever has no token, or one for something else", refuse),
    Step("Usage over HTTP and on Kafka, some of it twice", report_usage),
    Step("Usage, invoice, payment, notice", collect),
    Step("A card is declined: overdue, and reminders", fall_overdue),
    Step("Every key and secret is changed while that invoice is open", change_every_key),
    Step("The customer pays late, with another card", pay_late),
    Step("Each event told once, and the books agree", compare),
)
"""Title and step, in order."""
