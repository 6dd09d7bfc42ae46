"""Lists of every noun: one way of paging, and what each is found by."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import cycle, product
from typing import Any

import pytest

from domain.access import SYSTEM, Access
from domain.gateway import Operation
from domain.order import OrderLine
from domain.payment import Method
from domain.review import ClosedReview, NewReview, Question
from domain.roles import Role
from store import customer, order, payment, refund, review, wallet
from store.database import Database, Transaction
from tests.api.conftest import Acting
from tests.api.documents import refused
from tests.api.settling import NO_MONEY, PERIOD, invoiced, plan, price, settle, use
from tests.api.test_webhooks import deliver
from tests.support.billing import Billing
from tests.support.databases import may_idle
from tests.support.samples import a_payment, a_refund, new_customer, new_id


@dataclass(frozen=True)
class Kind:
    """Where it is listed, and how a row of it is made; `id_` names it among its items."""

    path: str
    insert: Callable[[Transaction, str], Awaitable[str | int]]
    id_: str = "id"


async def insert_payment(tx: Transaction, customer_id: str) -> str:
    made = a_payment(0, 1_000, customer_id=customer_id)
    await payment.create(tx, made, Method.CARD)
    return made.payment_id


async def insert_order(tx: Transaction, customer_id: str) -> str:
    lines = [OrderLine("SKU-1", 1, 1_000)]
    return (await order.create(tx, new_id(), customer_id, "KRW", lines, 1_000)).id


async def insert_refund(tx: Transaction, customer_id: str) -> str:
    paid = a_payment(0, 1_000, customer_id=customer_id)
    await payment.create(tx, paid, Method.CARD)
    wanted = a_refund(paid, 1_000, 0)
    await refund.create(tx, wanted)
    return wanted.refund_id


UNITS = cycle("".join(each) for each in product("XYZ", repeat=3))


async def insert_wallet(tx: Transaction, customer_id: str) -> str:
    unit = next(UNITS)
    await wallet.credit(tx, customer_id, unit, 1)
    return unit


async def insert_review(tx: Transaction, customer_id: str) -> int:
    paid = await insert_payment(tx, customer_id)
    asked = NewReview(paid, paid, Operation.CHARGE, Question.CAPTURE, "a test")
    await review.open_(tx, asked)
    latest = await review.latest(tx, paid)
    assert latest is not None
    return latest.id


KINDS = {
    "payments": Kind("/api/v1/payments", insert_payment),
    "orders": Kind("/api/v1/orders", insert_order),
    "refunds": Kind("/api/v1/refunds", insert_refund),
    "wallets": Kind("/api/v1/wallets", insert_wallet, "unit"),
    "reviews": Kind("/api/v1/reviews", insert_review),
}


async def found(billing: Billing, path: str, **query: str | int) -> dict[str, Any]:
    answer = await billing.api.get(path, params={"customerId": billing.customer_id, **query})
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    assert page.keys() == {"items", "nextCursor", "hasMore"}
    assert page["hasMore"] == (page["nextCursor"] is not None)
    return page


async def ids(billing: Billing, path: str, **query: str | int) -> list[str | int]:
    return [each["id"] for each in (await found(billing, path, **query))["items"]]


@pytest.mark.parametrize("name", KINDS)
async def test_a_walk_doubles_and_misses_nothing_that_is_inserted_meanwhile(
    billing: Billing, database: Database, name: str
) -> None:
    """Neither what commits behind it, nor what is made in front of it."""
    billing.leaves_residue()
    kind = KINDS[name]

    async def made() -> str | int:
        async with database.begin(SYSTEM) as tx:
            return await kind.insert(tx, billing.customer_id)

    before = [await made() for _ in range(2)]
    async with database.begin(SYSTEM) as tx:
        await may_idle(tx)
        late = await kind.insert(tx, billing.customer_id)
        after = [await made() for _ in range(2)]
        first = await found(billing, kind.path, limit=3)
        await made()
    rest = await found(billing, kind.path, limit=3, cursor=first["nextCursor"])

    pages = [[each[kind.id_] for each in page["items"]] for page in (first, rest)]
    assert pages == [[after[1], after[0], before[1]], [late, before[0]]]
    assert rest["nextCursor"] is None


@pytest.mark.parametrize("name", KINDS)
async def test_a_page_that_is_just_full_is_the_last(
    billing: Billing, database: Database, name: str
) -> None:
    billing.leaves_residue()
    kind = KINDS[name]
    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
            await kind.insert(tx, billing.customer_id)

    assert (await found(billing, kind.path, limit=1))["hasMore"]
    assert not (await found(billing, kind.path, limit=2))["hasMore"]


@pytest.mark.parametrize("name", KINDS)
async def test_a_cursor_is_good_for_its_list_and_its_filters_only(
    billing: Billing, database: Database, name: str
) -> None:
    billing.leaves_residue()
    kind = KINDS[name]
    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
            await kind.insert(tx, billing.customer_id)
    since = "2020-01-01T00:00:00Z"
    given = (await found(billing, kind.path, limit=1, **{"from": since}))["nextCursor"]
    mine = {"customerId": billing.customer_id, "cursor": given}

    same = {**mine, "from": "2020-01-01T01:00:00+01:00", "limit": 7}
    assert (await billing.api.get(kind.path, params=same)).status_code == 200
    for path, query in (
        (kind.path, mine),
        (kind.path, {**mine, "from": "2020-01-01T00:00:01Z"}),
        (kind.path, {"cursor": given, "from": since}),
        ("/api/v1/audit", {**mine, "from": since}),
        (kind.path, {**mine, "from": since, "cursor": f"{given}A"}),
    ):
        refused(await billing.api.get(path, params=query), 400, "invalid-request")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "cursor=", "cursor=x", "from=yesterday", "size=5"]
)
async def test_what_no_page_can_mean_is_refused(billing: Billing, name: str, query: str) -> None:
    refused(await billing.api.get(f"{KINDS[name].path}?{query}"), 400, "invalid-request")


@pytest.mark.parametrize("name", KINDS)
async def test_things_are_found_by_their_time(
    billing: Billing, database: Database, name: str
) -> None:
    billing.leaves_residue()
    kind = KINDS[name]
    async with database.begin(SYSTEM) as tx:
        made = await kind.insert(tx, billing.customer_id)
    [item] = (await found(billing, kind.path))["items"]
    at = item.get("createdAt") or item["openedAt"]

    assert item[kind.id_] == made
    assert len((await found(billing, kind.path, **{"from": at}))["items"]) == 1
    assert (await found(billing, kind.path, to=at))["items"] == []


async def test_a_customer_lists_its_own_and_cannot_name_another(
    billing: Billing, acting: Acting
) -> None:
    other = await Billing.for_new_customer(billing.api, billing.simulator, billing.database)
    theirs = await other.pay(await other.order())
    mine = await billing.pay(await billing.order())
    me = Access("test", frozenset({Role.CUSTOMER}), billing.customer_id)

    async with acting(me) as http:
        answer = await http.get("/api/v1/payments")
        assert [each["id"] for each in answer.json()["items"]] == [mine["id"]]
        of_it = await http.get("/api/v1/payments", params={"orderId": theirs["orderId"]})
        assert of_it.json() == {"items": [], "nextCursor": None, "hasMore": False}
        named = {"customerId": other.customer_id}
        refused(await http.get("/api/v1/payments", params=named), 404, "not-found")


async def test_who_looks_through_a_customer_s_things_is_noted(billing: Billing) -> None:
    """Each customer's for itself, however shortly after those of another."""
    other = await Billing.for_new_customer(billing.api, billing.simulator, billing.database)
    for each in (other, billing, billing):
        await found(each, "/api/v1/payments")
        await billing.get(f"/api/v1/admin/dlq?customerId={each.customer_id}")
        await found(each, "/api/v1/audit")

    for each in (other, billing):
        noted = await found(each, "/api/v1/audit", action="DATA_VIEWED")
        mine = f"/{each.customer_id}"
        assert sorted((one["targetType"], one["targetId"]) for one in noted["items"]) == [
            ("audit", f"trail{mine}"),
            ("dead-letter", f"list{mine}"),
            ("payment", f"list{mine}"),
        ]


async def test_payments_are_found_by_what_they_are(billing: Billing) -> None:
    paid = await billing.pay(await billing.order(5_000))
    await billing.add_card(NO_MONEY)
    declined = await billing.pay(await billing.order(7_000))
    path = "/api/v1/payments"

    async def seen(**query: str | int) -> list[str]:
        return [
            {paid["id"]: "paid", declined["id"]: "declined"}[id_]
            for id_ in await ids(billing, path, **query)
        ]

    assert await seen() == ["declined", "paid"]
    assert await seen(status="FAILED") == ["declined"]
    assert await seen(open="true") == []
    assert await seen(olderThan="P1D") == []
    assert await seen(olderThan="PT0S", gateway="simulator") == ["declined", "paid"]
    assert await seen(gateway="another") == []
    assert await seen(currency="KRW", minAmount=5_000, maxAmount=6_999) == ["paid"]
    assert await seen(currency="KRW", minAmount=5_001) == ["declined"]
    assert await seen(currency="USD") == []
    assert await seen(orderId=paid["orderId"]) == ["paid"]
    assert await seen(payableId=declined["orderId"]) == ["declined"]
    assert await seen(payableId=new_id()) == []
    [attempt] = paid["attempts"]
    for reference in (paid["gatewayReference"], paid["id"], attempt["idempotencyKey"]):
        assert await seen(gatewayReference=reference) == ["paid"], reference
    assert await seen(gatewayReference=f"{paid['id']}:refund:1") == []
    assert await seen(gatewayReference="pg_%") == []


async def test_an_item_of_the_list_is_the_payment_itself(billing: Billing) -> None:
    paid = await billing.pay(await billing.order())

    [item] = (await found(billing, "/api/v1/payments"))["items"]

    assert item == await billing.get(f"/api/v1/payments/{paid['id']}")


async def test_payments_that_hang_are_found_by_one_call_with_who_owns_them(
    billing: Billing, database: Database
) -> None:
    billing.leaves_residue()
    await billing.pay(await billing.order())
    async with database.begin(SYSTEM) as tx:
        hangs = await insert_payment(tx, billing.customer_id)

    page = await found(billing, "/api/v1/payments", open="true", olderThan="PT0S")

    assert [each["workflowId"] for each in page["items"]] == [f"payment/{hangs}"]
    assert await ids(billing, "/api/v1/payments", open="true", olderThan="PT1H") == []


@pytest.mark.parametrize(
    "query",
    [
        "minAmount=1",
        "maxAmount=1",
        "currency=KRW&minAmount=-1",
        "currency=krw",
        "olderThan=600",
        "olderThan=1h",
        "status=PAID",
        "payableId=x",
        "gatewayReference=" + "x" * 256,
        "open=perhaps",
    ],
)
async def test_a_payment_that_nobody_can_mean_is_refused(billing: Billing, query: str) -> None:
    refused(await billing.api.get(f"/api/v1/payments?{query}"), 400, "invalid-request")


async def test_orders_are_found_by_their_status(billing: Billing) -> None:
    made = await billing.order()
    paid = (await billing.pay(await billing.order()))["orderId"]
    path = "/api/v1/orders"

    assert await ids(billing, path) == [paid, made]
    assert await ids(billing, path, status="CREATED") == [made]
    assert await ids(billing, path, status="NEEDS_REVIEW") == []
    whole = {each["id"]: each for each in (await found(billing, path))["items"]}
    assert [whole[id_] for id_ in (made, paid)] == [
        await billing.get(f"{path}/{id_}") for id_ in (made, paid)
    ]


async def test_refunds_are_found_by_what_they_give_back(billing: Billing) -> None:
    given_back = []
    for _ in range(2):
        paid = await billing.pay(await billing.order())
        body = {"paymentId": paid["id"], "reason": "a test"}
        given_back.append((await billing.post("/api/v1/refunds", body)).json())
    first, second = given_back
    path = "/api/v1/refunds"

    assert (await found(billing, path))["items"] == [second, first]
    assert await ids(billing, path, status="COMPLETED") == [second["id"], first["id"]]
    assert await ids(billing, path, status="FAILED") == []
    assert await ids(billing, path, paymentId=first["paymentId"]) == [first["id"]]


async def test_wallets_are_found_by_their_owner_and_unit(billing: Billing) -> None:
    await billing.top_up(700)
    await billing.give_points(40)
    path = "/api/v1/wallets"

    held = [(each["unit"], each["available"]) for each in (await found(billing, path))["items"]]
    [points] = (await found(billing, path, unit="POINT"))["items"]

    assert held == [("POINT", 40), ("KRW", 700)]
    assert (points["customerId"], points["available"]) == (billing.customer_id, 40)
    assert (await found(billing, path, unit="USD"))["items"] == []


async def test_customers_are_listed_the_newest_first_with_those_that_commit_late(
    billing: Billing, database: Database
) -> None:
    """Among those of all other tests, which are made meanwhile."""

    async def made() -> str:
        async with database.begin(SYSTEM) as tx:
            await customer.put(tx, name := new_customer())
        return name

    mine = [await made()]
    async with database.begin(SYSTEM) as tx:
        await may_idle(tx)
        await customer.put(tx, late := new_customer())
        mine += [await made(), await made()]
        page = await billing.get("/api/v1/customers?limit=1")
    walked = page["items"]
    while page["hasMore"] and len(walked) < 100:
        page = await billing.get(f"/api/v1/customers?limit=1&cursor={page['nextCursor']}")
        walked += page["items"]

    of_mine = [each["id"] for each in walked if each["id"] in {*mine, late}]
    assert sorted(of_mine) == sorted({*mine, late})
    assert [each for each in of_mine if each != late] == mine[::-1]
    [one] = (await found(billing, "/api/v1/customers"))["items"]
    assert one == await billing.get(f"/api/v1/customers/{billing.customer_id}")


async def test_questions_are_found_by_what_they_are_about(
    billing: Billing, database: Database
) -> None:
    billing.leaves_residue()
    path = "/api/v1/reviews"
    async with database.begin(SYSTEM) as tx:
        answered, waits = [await insert_review(tx, billing.customer_id) for _ in range(2)]
    [newer, older] = (await found(billing, path))["items"]
    async with database.begin(SYSTEM) as tx:
        await review.close(tx, ClosedReview(older["referenceId"], "failed", "not there"))

    assert [newer["id"], older["id"]] == [waits, answered]
    assert (newer["amount"], newer["currency"]) == (1_000, "KRW")
    assert await ids(billing, path, open="true") == [waits]
    assert await ids(billing, path, paymentId=older["paymentId"]) == [answered]
    assert await ids(billing, path, question="capture") == [waits, answered]
    assert await ids(billing, path, question="void") == []
    [closed] = (await found(billing, path, paymentId=older["paymentId"]))["items"]
    assert (closed["outcome"], closed["note"]) == ("failed", "not there")
    assert closed["closedAt"]


async def test_settlements_are_found_by_how_they_stand(billing: Billing, settlements: None) -> None:
    await plan(billing)
    await use(billing, 10_000)
    assert (await settle(billing))[1]["status"] == "SKIPPED"
    await use(billing, 10_001, "2026-06-10T00:00:00Z")
    bill = (await settle(billing, "2026-06"))[1]["invoice"]
    path = "/api/v1/settlements"

    async def seen(**query: str | int) -> list[tuple[str, str]]:
        page = await found(billing, path, **query)
        return [(each["period"], each["status"]) for each in page["items"]]

    settled, skipped = ("2026-06", "SETTLED"), (PERIOD, "SKIPPED")
    assert await seen() == [settled, skipped]
    assert await seen(period="2026-06") == [settled]
    assert await seen(status="SKIPPED") == [skipped]
    assert await seen(status="FAILED") == []
    first = await found(billing, path, limit=1)
    rest = await found(billing, path, limit=1, cursor=first["nextCursor"])
    assert [each["invoiceId"] for each in first["items"]] == [bill["id"]]
    assert [each["period"] for each in rest["items"]] == [PERIOD]
    assert not rest["hasMore"]


async def test_a_cancelled_settlement_is_found_as_such(billing: Billing, settlements: None) -> None:
    await billing.add_card(NO_MONEY)
    bill = await invoiced(billing)
    cancelled = await billing.post(f"/api/v1/invoices/{bill['id']}/cancel", {"reason": "a test"})
    assert cancelled.json()["status"] == "CANCELLED"
    path = "/api/v1/settlements"

    [one] = (await found(billing, path, status="CANCELLED"))["items"]
    assert (one["status"], one["invoiceId"]) == ("CANCELLED", bill["id"])
    assert (await found(billing, path, status="SETTLED"))["items"] == []


async def test_a_month_that_nobody_settled_is_in_no_list_and_no_month_is_refused(
    billing: Billing,
) -> None:
    assert (await found(billing, "/api/v1/settlements"))["items"] == []
    for query in ("period=May", "status=OK", "from=2026-05-01T00:00:00Z"):
        answer = await billing.api.get(f"/api/v1/settlements?{query}")
        refused(answer, 400, "invalid-request")


async def test_what_a_pg_told_is_listed_as_it_came_once(billing: Billing) -> None:
    path = "/api/v1/webhooks"
    told = [{"id": f"evt_{new_id()}", "orderId": new_id()} for _ in range(2)]
    for event in (*told, told[0]):
        assert (await deliver(billing.api, event)).status_code == 204
    first = await billing.get(f"{path}?gateway=simulator&limit=200")

    mine = [each for each in first["items"] if each["body"] in told]
    assert [(each["gateway"], each["eventId"]) for each in mine] == [
        ("simulator", event["id"]) for event in told[::-1]
    ]
    assert (await billing.get(f"{path}?gateway=another"))["items"] == []
    assert told[0]["id"] not in str(await billing.get(f"{path}?to=2020-01-01T00:00:00Z"))


async def test_coupons_and_plans_are_listed_the_newest_first(billing: Billing) -> None:
    codes = [await billing.put_coupon() for _ in range(2)]
    plan_code = await plan(billing)
    await price(billing, plan_code, "STORAGE")

    coupons = await billing.get("/api/v1/coupons?limit=200")
    listed = [each["code"] for each in coupons["items"]]
    versions = await billing.get(f"/api/v1/pricing-plans?code={plan_code}&limit=1")
    rest = await billing.get(
        f"/api/v1/pricing-plans?code={plan_code}&limit=1&cursor={versions['nextCursor']}"
    )

    assert [each for each in listed if each in codes] == codes[::-1]
    [one] = [each for each in coupons["items"] if each["code"] == codes[0]]
    assert one == await billing.get(f"/api/v1/coupons/{codes[0]}")
    whole = await billing.get(f"/api/v1/pricing-plans/{plan_code}")
    assert [*rest["items"], *versions["items"]] == whole["versions"]
    assert not rest["hasMore"]
