"""No statement of the hot paths reads a growing table from end to end: each is taken as it was sent
in a real run, and PostgreSQL is asked how it would execute it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event, text
from temporalio.client import Client

from domain.access import SYSTEM, Access, Scope
from domain.roles import Role
from domain.terms import Terms
from runtime import sweeper
from runtime.settings import Settings
from store.database import Database
from store.tables import metadata
from tests.api.calls import OF_NOBODY, acting_as, ask, of_customers, with_everything
from tests.api.settling import NO_MONEY, plan, settle, use
from tests.support.billing import Billing
from tests.support.conditions import eventually

BEFORE_EVERYTHING = datetime(2000, 1, 1, tzinfo=UTC)
NOT_GROWING = {"coupons", "inventory", "invoice_numbers", "pricing_plans", "settlement_runs"}
"""As long as there are kinds of things and months, not as long as there is business."""
GROWING = metadata.tables.keys() - NOT_GROWING
LIMITED = ("Index Scan", "Index Only Scan")
"""What reads as little of a whole index as there is asked for."""

NOBODY = "01890000-0000-7000-8000-000000000000"
ALWAYS = ("", "from=2020-01-01T00:00:00Z")
LISTS = {
    "payments": (
        *("status=CANCELLED", "open=true&olderThan=PT1H", f"payableId={NOBODY}"),
        *("gateway=another", "gatewayReference=pg_none", f"gatewayReference={NOBODY}"),
        "currency=KRW&minAmount=900000000",
    ),
    "orders": ("status=NEEDS_REVIEW",),
    "refunds": ("status=NEEDS_REVIEW", f"paymentId={NOBODY}"),
    "customers": (),
    "wallets": ("unit=POINT",),
    "reviews": ("open=true", f"paymentId={NOBODY}"),
}
OTHER_LISTS = {
    "settlements": ("", "period=2026-05", "status=FAILED", "status=CANCELLED"),
    "webhooks": (*ALWAYS, "gateway=another"),
    "coupons": ALWAYS,
    "pricing-plans": (*ALWAYS, "code=another"),
}
"""What is rare or not there: of what is everywhere the newest are found soonest in their order."""

Sent = dict[str, Any]
"""Statements with the first parameters that they came with."""


@contextmanager
def sent(*, of_customers_only: bool = False) -> Iterator[Sent]:
    """Every statement of this process, whoever sends it, or those that follow one which says for
    which customer the transaction acts."""
    found: Sent = {}
    acting: WeakSet[Connection] = WeakSet()

    def note(tx: Connection, _1: Any, statement: str, parameters: Any, _2: Any, many: bool) -> None:
        if tx in acting or not of_customers_only:
            found.setdefault(statement, parameters[0] if many else parameters)
        if "app.customer" in statement:
            acting.add(tx)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def reading_all(plan: dict[str, Any], partial: set[str], limited: bool = False) -> Iterator[str]:
    """Where a plan reads a growing table from end to end, also by an index that is of all rows."""
    relation, node = plan.get("Relation Name", ""), plan["Node Type"]
    grows = any(relation == name or relation.startswith(f"{name}_2") for name in GROWING)
    few = "Index Cond" in plan or plan.get("Index Name") in partial
    first_ones = limited and node in LIMITED and "Filter" not in plan
    if grows and node != "ModifyTable" and node != "Bitmap Heap Scan" and not (few or first_ones):
        yield f"{node} on {relation}"
    for each in plan.get("Plans", []):
        yield from reading_all(each, partial, limited or node == "Limit")


async def explained(
    database: Database, statements: Sent, scope: Scope = SYSTEM
) -> dict[str, list[str]]:
    """What reads a growing table from end to end, by statement.

    Without sequential scans, and without joins that begin with all rows of both sides, so that a
    plan has one only where no index could serve it: the tables of a test are so small that they
    would be faster.
    """
    found = {}
    async with database.begin(scope) as tx:
        names = "SELECT indexrelid::regclass::text FROM pg_index WHERE indpred IS NOT NULL"
        partial = set((await tx.execute(text(names))).scalars())
        for way in ("seqscan", "hashjoin", "mergejoin", "material"):
            await tx.execute(text(f"SET LOCAL enable_{way} = off"))
        for statement, parameters in statements.items():
            explain = f"EXPLAIN (FORMAT JSON) {statement}"
            [answer] = (await tx.exec_driver_sql(explain, parameters)).scalars().one()
            if wrong := list(reading_all(answer["Plan"], partial)):
                found[statement] = wrong
    return found


async def test_no_hot_statement_reads_a_growing_table_from_end_to_end(
    billing: Billing, database: Database, temporal_client: Client, settlements: None, relays: None
) -> None:
    with sent() as statements:
        await pay_and_refund(billing)
        await bill(billing)
        await look(billing)
        await sweeper.sweep(temporal_client, database, Terms(), BEFORE_EVERYTHING)
        await everything_published(billing, database)

    hot = {each: sent for each, sent in statements.items() if touches_a_table(each)}
    tables = {name for name in metadata.tables if any(name in each for each in hot)}
    assert tables >= {"payments", "idempotency_keys", "outbox", "usage_events", "invoices"}
    assert len(hot) > 100
    wrong = await explained(database, hot)
    assert not wrong, "\n\n".join(f"{each}: {why}" for each, why in wrong.items())


async def test_nor_does_one_of_a_customer_with_what_its_policies_add(
    billing: Billing, database: Database, settings: Settings, settlements: None
) -> None:
    """On every route of customers' things."""
    me = Access("test/me", frozenset({Role.CUSTOMER}), billing.customer_id)
    await billing.add_card(NO_MONEY)
    mine = {**await with_everything(billing), "sku": await billing.put_stock(5)}
    with sent(of_customers_only=True) as statements:
        async with acting_as(settings, me) as http:
            for call in of_customers(settings):
                if str(call) not in OF_NOBODY:
                    await ask(http, call, mine)

    hot = {each: sent for each, sent in statements.items() if touches_a_table(each)}
    assert len(hot) > 25
    wrong = await explained(database, hot, me.scope)
    assert not wrong, "\n\n".join(f"{each}: {why}" for each, why in wrong.items())


async def test_a_statement_that_reads_all_of_it_is_found(database: Database) -> None:
    """With and without an index that does not help; one that bounds it does."""
    by_method = "SELECT count(*) FROM payments WHERE method = 'CARD'"
    sorted_ = "SELECT id FROM payments WHERE method = 'CARD' ORDER BY id LIMIT 1"
    first = "SELECT id FROM payments ORDER BY id LIMIT 1"
    one = "SELECT 1 FROM payments WHERE id = $1::UUID"
    statements = {by_method: (), sorted_: (), first: (), one: (str(uuid4()),)}

    assert (await explained(database, statements)).keys() == {by_method, sorted_}


def touches_a_table(statement: str) -> bool:
    return statement.split()[0].upper() in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


async def pay_and_refund(billing: Billing) -> None:
    """An order of everything, asked for twice, given back in part; one that is declined."""
    code, sku = await billing.put_coupon(), await billing.put_stock(10)
    await billing.give_points(500)
    await billing.top_up(1_000)
    ordered = await billing.order_of(sku, 5_000, couponCode=code, points=100)
    body = {"orderId": ordered["id"], "method": "SPLIT", "walletAmount": 700}
    key = uuid4().hex
    for _ in range(2):
        paid = await billing.post("/api/v1/payments", body, key)
        assert (paid.status_code, paid.json()["status"]) == (201, "COMPLETED")
    refund = {"paymentId": paid.json()["id"], "amount": 300, "reason": "broken"}
    assert (await billing.post("/api/v1/refunds", refund)).status_code == 201
    await billing.get(f"/api/v1/payments?orderId={ordered['id']}")
    await billing.get(f"/api/v1/orders/{ordered['id']}")
    await billing.add_card(NO_MONEY)
    declined = await billing.order_of(sku, 5_000)
    assert (await billing.pay(declined["id"]))["status"] == "FAILED"


async def bill(billing: Billing) -> None:
    """A month whose charge is declined, and the next attempt by another card."""
    await plan(billing, flatFee=500)
    await use(billing, 15_000)
    code, settled = await settle(billing)
    assert code == 201
    await settle(billing)
    card = await billing.add_card("4242424242424242")
    path = f"/api/v1/invoices/{settled['invoice']['id']}"
    paid = await billing.post(f"{path}/pay", {"paymentMethodId": card})
    assert paid.json()["status"] == "PAID"
    await billing.get(path)
    await billing.get(f"{path}/lineage")


async def look(billing: Billing) -> None:
    """Every list, each page of it."""
    who = f"customerId={billing.customer_id}"
    for whose in (f"{who}&", ""):
        await billing.get(f"/api/v1/invoices?{whose}page=2")
        first = await billing.get(f"/api/v2/invoices?{whose}size=1")
        if first["nextCursor"]:
            await billing.get(f"/api/v2/invoices?{whose}size=1&cursor={first['nextCursor']}")
    await billing.get("/api/v1/aged-receivables")
    await billing.get("/api/v1/aged-receivables?asOf=2026-06-01")
    await billing.get(f"/api/v1/wallet?{who}")
    page = await billing.get(f"/api/v1/wallet/transactions?{who}&limit=1")
    await billing.get(f"/api/v1/wallet/transactions?{who}&limit=1&cursor={page['nextCursor']}")
    await look_through_lists(billing, who)
    # What is rare: of what is everywhere the newest are found soonest by their ids.
    for query in (who, "actor=nobody", f"targetId={billing.customer_id}", "action=RANKING_REBUILT"):
        trail = await billing.get(f"/api/v1/audit?{query}&limit=1")
        if trail["nextCursor"]:
            await billing.get(f"/api/v1/audit?{query}&limit=1&cursor={trail['nextCursor']}")


async def look_through_lists(billing: Billing, who: str) -> None:
    """By whatever each is found."""
    for what, queries in LISTS.items():
        for query in (*queries, *ALWAYS, who):
            await every_page(billing, what, query)
    for what, queries in OTHER_LISTS.items():
        for query in queries:
            await every_page(billing, what, query)
    await every_page(billing, "settlements", who)
    bill = (await billing.get(f"/api/v1/invoices?{who}"))["items"][0]["id"]
    month = "period=2026-05&resourceType=API_CALL"
    for query in (who, f"{who}&{month}", f"invoiceId={bill}", f"{who}&voided=true"):
        await every_page(billing, "usage", query)
    events = f"invoices/{bill}/lineage/events"
    await every_page(billing, events, "resourceType=API_CALL")
    assert (await billing.api.get(f"/api/v1/{events}/export?{month}")).status_code == 200


async def every_page(billing: Billing, what: str, query: str) -> None:
    """The first two of a list: from its end, and from a cursor."""
    path = f"/api/v1/{what}?{query}&limit=1".replace("?&", "?")
    first = await billing.get(path)
    if first["nextCursor"]:
        await billing.get(f"{path}&cursor={first['nextCursor']}")


async def everything_published(billing: Billing, database: Database) -> None:
    """The relay has looked, and marked what it has sent."""
    waiting = text("SELECT count(*) FROM outbox WHERE published_at IS NULL AND refused_at IS NULL")

    async def none() -> bool:
        async with database.statements(SYSTEM) as tx:
            return bool(await tx.scalar(waiting) == 0)

    await eventually(none)
