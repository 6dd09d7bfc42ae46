"""Invoices over HTTP: pages and crawls, where an amount comes from, what may be done when."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import insert, select, update
from temporalio.client import Client

from api import access
from api.app import create_app
from domain.access import SYSTEM, Access
from domain.invoice import InvoiceStatus
from domain.roles import Role
from domain.workflow_id import invoice_workflow_id, settlement_workflow_id
from runtime.settings import Settings
from store import invoice
from store.database import Transaction
from store.tables import invoices
from tests.api.documents import problem_of, refused
from tests.api.settling import NO_MONEY, PERIOD, invoiced, plan, settle, use, waiting_draft
from tests.conftest import served
from tests.support.billing import GOOD_CARD, Billing
from tests.support.conditions import eventually
from tests.support.databases import may_idle
from tests.support.namespaces import a_namespace
from tests.support.samples import new_id, new_period

DECISION = {"reason": "seen in the books"}


async def drafts(billing: Billing, count: int) -> list[str]:
    """Ids of drafts of the customer, one for a month, each in a transaction of its own."""
    ids = [new_id() for _ in range(count)]
    for invoice_id in ids:
        async with billing.database.begin(SYSTEM) as tx:
            month = new_period()
            await invoice.create_draft(
                tx, invoice_id, billing.customer_id, month, "KRW", "settlement/-", "-"
            )
    return ids


async def draft(tx: Transaction, billing: Billing, **more: int) -> str:
    """The id of a draft that this transaction makes."""
    invoice_id, month = new_id(), new_period()
    values = {"id": invoice_id, "customer_id": billing.customer_id, "period": month, "total": 0}
    how = {"currency": "KRW", "status": "DRAFT", "workflow_id": "settlement/-", "run_id": "-"}
    await tx.execute(insert(invoices).values(**values, **how, snapshot={}, **more))
    return invoice_id


async def crawled(billing: Billing, path: str) -> list[list[dict[str, Any]]]:
    """Every page of a crawl."""
    pages: list[list[dict[str, Any]]] = []
    cursor = ""
    while True:
        page = await billing.get(path + (f"&cursor={cursor}" if cursor else ""))
        pages.append(page["items"])
        if page["nextCursor"] is None:
            return pages
        cursor = page["nextCursor"]


def ids_of(pages: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    return [each["id"] for page in pages for each in page]


@asynccontextmanager
async def as_customer(billing: Billing, settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """The API as the customer itself meets it."""
    app = create_app(settings)
    who = Access(f"test/{billing.customer_id}", frozenset({Role.CUSTOMER}), billing.customer_id)
    app.dependency_overrides[access.caller] = lambda: who
    async with served(app) as http:
        http.headers["Idempotency-Key"] = uuid4().hex
        yield http


async def declined(billing: Billing) -> dict[str, Any]:
    """An invoice whose first charge has failed."""
    await billing.add_card(NO_MONEY)
    owed = await invoiced(billing)
    assert (owed["status"], owed["total"]) == ("ISSUED", 5000)
    assert owed["nextAttemptAt"] is not None
    return owed


async def test_pages_come_newest_first(billing: Billing) -> None:
    made = await drafts(billing, 5)
    path = f"/api/v1/invoices?customerId={billing.customer_id}&size=2"

    pages = [await billing.get(f"{path}&page={number}") for number in (1, 2, 3, 4)]

    assert ids_of([page["items"] for page in pages]) == made[::-1]
    assert [len(page["items"]) for page in pages] == [2, 2, 1, 0]
    assert [page["page"] for page in pages] == [1, 2, 3, 4]


async def test_a_crawl_doubles_and_misses_nothing_while_invoices_are_added(
    billing: Billing,
) -> None:
    """By numbers of pages the same rows shift while others come before them; here they do not."""
    there = await drafts(billing, 9)
    path = f"/api/v2/invoices?customerId={billing.customer_id}&size=2"
    seen: list[str] = []
    cursor = ""

    while True:
        page = await billing.get(path + (f"&cursor={cursor}" if cursor else ""))
        seen += [each["id"] for each in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = page["nextCursor"]
        if len(seen) < 8:
            await drafts(billing, 1)

    assert len(set(seen)) == len(seen)
    assert seen[: len(there)] == there


@pytest.mark.usefixtures("settlements")
async def test_a_list_shows_an_invoice_as_it_is_shown_alone(billing: Billing) -> None:
    """With several lines, a charge that failed, and next to one that has none of it."""
    await plan(billing, flatFee=700, minimum=9_000)
    await billing.add_card(NO_MONEY)
    await use(billing, 15_000)
    _, settled = await settle(billing)
    [empty] = await drafts(billing, 1)

    async def failed() -> dict[str, Any]:
        shown = await billing.get(f"/api/v1/invoices/{settled['invoice']['id']}")
        return shown if shown["nextAttemptAt"] and shown["failureCode"] else {}

    alone = await eventually(failed)
    both = [await billing.get(f"/api/v1/invoices/{empty}"), alone]

    assert len(alone["lines"]) == 3
    assert len(alone["paymentIds"]) == 1
    who = f"customerId={billing.customer_id}"
    assert (await billing.get(f"/api/v1/invoices?{who}"))["items"] == both
    first = await billing.get(f"/api/v2/invoices?{who}&size=1")
    then = await billing.get(f"/api/v2/invoices?{who}&size=1&cursor={first['nextCursor']}")
    assert [*first["items"], *then["items"]] == both[::-1]


async def test_what_commits_late_is_on_the_next_page_whenever_that_is_read(
    billing: Billing,
) -> None:
    """One transaction had its place in the list before the page, one only its beginning; neither
    could be seen."""
    path = f"/api/v2/invoices?customerId={billing.customer_id}&size=2"
    first, second = await drafts(billing, 2)

    async with (
        billing.database.engine.connect() as begun,
        billing.database.engine.connect() as written,
    ):
        await may_idle(begun)
        await may_idle(written)
        early = await draft(written, billing)
        there = [first, second, *await drafts(billing, 3)]
        [page] = [await billing.get(path)]
        page_2 = await billing.get(f"{path}&cursor={page['nextCursor']}")
        later = await draft(begun, billing)
        await begun.commit()
        await written.commit()

    assert ids_of([page["items"], page_2["items"]]) == there[:4]
    for _ in range(2):
        page_3 = await billing.get(f"{path}&cursor={page_2['nextCursor']}")
        assert ids_of([page_3["items"]]) == [later, early, there[4]]
        assert page_3["nextCursor"] is None
    [new] = await drafts(billing, 1)
    page_3 = await billing.get(f"{path}&cursor={page_2['nextCursor']}")
    assert ids_of([page_3["items"]]) == [later, early, there[4], new]


async def test_a_fresh_invoice_is_seen_while_an_older_transaction_is_open(
    billing: Billing,
) -> None:
    path = f"/api/v2/invoices?customerId={billing.customer_id}&size=1"
    async with billing.database.begin(SYSTEM) as open_:
        await may_idle(open_)
        await draft(open_, billing)
        made = await drafts(billing, 3)

        assert ids_of(await crawled(billing, path)) == made


async def test_rows_of_another_cluster_are_not_taken_for_late_ones(billing: Billing) -> None:
    """After a restore the numbers of transactions begin anew, below those that the rows bear."""
    made = await drafts(billing, 4)
    async with billing.database.begin(SYSTEM) as tx:
        for _ in range(2):
            made.append(await draft(tx, billing, created_xid=10**15))
    path = f"/api/v2/invoices?customerId={billing.customer_id}&size=2"

    assert ids_of(await crawled(billing, path)) == sorted(made)


async def test_many_of_one_moment_are_crawled_in_the_order_of_their_ids(billing: Billing) -> None:
    """The moment alone is no position: rows of one transaction share it."""
    ids = sorted(new_id() for _ in range(7))
    async with billing.database.begin(SYSTEM) as tx:
        for invoice_id in reversed(ids):
            await invoice.create_draft(
                tx, invoice_id, billing.customer_id, new_period(), "KRW", "settlement/-", "-"
            )

    path = f"/api/v2/invoices?customerId={billing.customer_id}&size=3"

    assert ids_of(await crawled(billing, path)) == ids


async def test_a_cursor_is_good_for_its_filter_only(billing: Billing) -> None:
    await drafts(billing, 3)
    mine = f"/api/v2/invoices?customerId={billing.customer_id}"
    cursor = (await billing.get(f"{mine}&size=2"))["nextCursor"]

    for other in (
        f"/api/v2/invoices?customerId=c-{uuid4().hex}",
        "/api/v2/invoices?size=2",
        f"{mine}&status=DRAFT",
    ):
        answer = await billing.api.get(f"{other}&cursor={cursor}")
        refused(answer, 400, "invalid-request")
    assert len((await billing.get(f"{mine}&size=1&cursor={cursor}"))["items"]) == 1


async def test_a_crawl_by_status_shows_no_other(billing: Billing) -> None:
    billing.leaves_residue()
    made = await drafts(billing, 3)
    async with billing.database.begin(SYSTEM) as tx:
        written_off = update(invoices).where(invoices.c.id == made[1])
        await tx.execute(written_off.values(status="WRITTEN_OFF"))
    path = f"/api/v2/invoices?customerId={billing.customer_id}&status=DRAFT&size=1"

    assert ids_of(await crawled(billing, path)) == [made[0], made[2]]


async def test_a_customer_sees_its_own_invoices_only(
    billing: Billing, settings: Settings, settlements: None
) -> None:
    other = await Billing.for_new_customer(billing.api, billing.simulator, billing.database)
    [theirs] = await drafts(other, 1)
    [mine] = await drafts(billing, 1)

    async with as_customer(billing, settings) as http:
        for version in ("v1", "v2"):
            listed = await http.get(f"/api/{version}/invoices")
            assert [each["id"] for each in listed.json()["items"]] == [mine]
        for answer in (
            await http.get("/api/v1/invoices", params={"customerId": other.customer_id}),
            await http.get("/api/v2/invoices", params={"customerId": other.customer_id}),
            await http.get(f"/api/v1/invoices/{theirs}"),
            await http.get(f"/api/v1/invoices/{theirs}/lineage"),
            await http.post(f"/api/v1/invoices/{theirs}/pay"),
            await http.post(f"/api/v1/invoices/{theirs}/pay", json={"paymentMethodId": new_id()}),
        ):
            refused(answer, 404, "not-found")
        written_off = await http.post(f"/api/v1/invoices/{mine}/write-off", json=DECISION)
        refused(written_off, 403, "insufficient-role")


async def test_every_amount_leads_back_to_its_events(billing: Billing, settlements: None) -> None:
    """Lines add up to the total, steps to their line, and the digest names the very events."""
    await plan(billing)
    events = [await use(billing, 4000) for _ in range(3)]
    events.append(await use(billing, 1, "2026-05-31T23:59:59Z"))
    await use(billing, 999, "2026-06-01T00:00:00Z")
    _, settled = await settle(billing)
    made = settled["invoice"]

    lineage = await billing.get(f"/api/v1/invoices/{made['id']}/lineage")

    assert [each["line"] for each in lineage["lines"]] == made["lines"]
    assert sum(each["line"]["amount"] for each in lineage["lines"]) == made["total"] == 2001
    [line] = lineage["lines"]
    assert (line["events"], line["line"]["quantity"]) == (4, "12001")
    assert line["lastAt"] == "2026-05-31T23:59:59Z"
    named = "".join(f"{event}\n" for event in sorted(events))
    assert line["digest"] == hashlib.sha256(named.encode()).hexdigest()
    for step in line["line"]["steps"]:
        assert int(step["quantity"]) * int(step["unitPrice"]) == int(step["amount"])
    assert lineage["workflowId"] == f"settlement/{billing.customer_id}/{PERIOD}"


async def test_a_declined_invoice_is_paid_with_another_card(
    billing: Billing, settlements: None
) -> None:
    owed = await declined(billing)
    card = await billing.add_card(GOOD_CARD)
    key = uuid4().hex
    path, body = f"/api/v1/invoices/{owed['id']}/pay", {"paymentMethodId": card}

    paid = await billing.post(path, body, key)
    again = await billing.post(path, body, key)

    assert (paid.status_code, paid.json()["status"]) == (200, "PAID"), paid.text
    assert (again.status_code, again.content) == (200, paid.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    _, taken = paid.json()["paymentIds"]
    assert (await billing.book(taken))["totals"]["KRW"]["captured"] == 5000


async def test_a_charge_now_that_is_declined_has_its_answer_too(
    billing: Billing, settlements: None
) -> None:
    """The invoice stays open, but the wish to charge it has been met: no repeat waits for ever."""
    owed = await declined(billing)
    key, path = uuid4().hex, f"/api/v1/invoices/{owed['id']}/pay"

    tried = await billing.post(path, {}, key)
    again = await billing.post(path, {}, key)

    assert (tried.status_code, tried.json()["status"]) == (200, "ISSUED"), tried.text
    assert len(tried.json()["paymentIds"]) == 2
    assert (again.status_code, again.content) == (200, tried.content)


async def test_one_key_on_two_paths_is_two_wishes(billing: Billing, settlements: None) -> None:
    owed = await declined(billing)
    key, path = uuid4().hex, f"/api/v1/invoices/{owed['id']}"
    assert (await billing.post(f"{path}/pay", {}, key)).status_code == 200

    written_off = await billing.post(f"{path}/write-off", DECISION, key)

    assert (written_off.status_code, written_off.json()["status"]) == (200, "WRITTEN_OFF")


async def test_a_card_that_is_not_there_is_refused(billing: Billing, settlements: None) -> None:
    owed = await declined(billing)
    other = await Billing.for_new_customer(billing.api, billing.simulator, billing.database)
    theirs = await other.add_card(GOOD_CARD)

    answer = await billing.post(f"/api/v1/invoices/{owed['id']}/pay", {"paymentMethodId": theirs})

    refused(answer, 422, "payment-method-missing")


async def test_a_charge_now_without_any_card_is_refused_until_there_is_one(
    billing: Billing, settlements: None
) -> None:
    """Else the answer would be the invoice as it was, as if it had been tried."""
    cardless = replace(billing, customer_id=f"c-{uuid4().hex}")
    await billing.api.put(f"/api/v1/customers/{cardless.customer_id}")
    owed = await invoiced(cardless)
    path, key = f"/api/v1/invoices/{owed['id']}/pay", uuid4().hex

    in_vain = await cardless.post(path, {}, key)
    await cardless.add_card(GOOD_CARD)
    paid = await cardless.post(path, {}, key)

    refused(in_vain, 422, "payment-method-missing")
    assert (paid.status_code, paid.json()["status"]) == (200, "PAID"), paid.text


@pytest.mark.parametrize(
    ("action", "status"),
    [("paid-outside", "PAID"), ("write-off", "WRITTEN_OFF"), ("cancel", "CANCELLED")],
)
async def test_an_operator_closes_an_invoice_once(
    billing: Billing, settlements: None, action: str, status: str
) -> None:
    owed = await declined(billing)
    key, path = uuid4().hex, f"/api/v1/invoices/{owed['id']}"

    closed = await billing.post(f"{path}/{action}", DECISION, key)
    again = await billing.post(f"{path}/{action}", DECISION, key)

    assert (closed.status_code, closed.json()["status"]) == (200, status), closed.text
    assert closed.json()["closedAt"] is not None
    assert closed.json()["nextAttemptAt"] is None
    assert closed.json()["decisions"][-1]["reason"] == DECISION["reason"]
    assert again.content == closed.content
    other = await billing.post(f"{path}/{action}", {"reason": "another"}, key)
    refused(other, 422, "idempotency-key-reused")
    for late in ("pay", "paid-outside", "write-off", "cancel"):
        answer = await billing.post(f"{path}/{late}", {} if late == "pay" else DECISION)
        refused(answer, 409, "already-final")


@pytest.mark.parametrize(("action", "status"), [("approve", "PAID"), ("reject", "REJECTED")])
async def test_a_draft_that_waits_is_decided_once(
    billing: Billing, settlements: None, action: str, status: str
) -> None:
    draft = await waiting_draft(billing)
    key, path = uuid4().hex, f"/api/v1/invoices/{draft['id']}"
    refused(await billing.post(f"{path}/pay", {}), 409, "invoice-not-issued")

    decided = await billing.post(f"{path}/{action}", DECISION, key)
    again = await billing.post(f"{path}/{action}", DECISION, key)

    assert decided.status_code == 200, decided.text
    assert again.content == decided.content
    [decision] = decided.json()["decisions"]
    assert decision["reason"] == DECISION["reason"]
    for late in ("approve", "reject"):
        refused(await billing.post(f"{path}/{late}", DECISION), 409, "not-in-review")

    async def settled() -> bool:
        return bool((await billing.get(path))["status"] == status)

    await eventually(settled)


async def test_a_decision_needs_a_key_and_a_reason(billing: Billing) -> None:
    [draft] = await drafts(billing, 1)
    path = f"/api/v1/invoices/{draft}"

    for action in ("pay", "paid-outside", "write-off", "cancel", "approve", "reject"):
        answer = await billing.api.post(f"{path}/{action}", json=DECISION)
        assert answer.status_code == 400, action
        assert problem_of(answer) in ("idempotency-key-missing", "invalid-request"), action
        if action != "pay":
            answer = await billing.post(f"{path}/{action}", {"reason": ""})
            refused(answer, 400, "invalid-request")


async def test_nobody_decides_about_what_is_not_there(billing: Billing) -> None:
    for action in ("pay", "write-off", "approve"):
        body = {} if action == "pay" else DECISION
        answer = await billing.post(f"/api/v1/invoices/{new_id()}/{action}", body)
        refused(answer, 404, "not-found")


async def test_without_a_worker_a_decision_is_accepted(
    billing: Billing, settings: Settings
) -> None:
    """202, and the repeat is told to come back; nothing is lost that a repeat does not mend."""
    billing.leaves_residue()
    invoice_id, owner = new_id(), settlement_workflow_id(billing.customer_id, PERIOD)
    async with billing.database.begin(SYSTEM) as tx:
        await invoice.create_draft(tx, invoice_id, billing.customer_id, PERIOD, "KRW", owner, "-")
        waits = InvoiceStatus.AWAITING_APPROVAL
        await invoice.set_draft_status(tx, invoice_id, waits, "above")
    idle = {"temporal_namespace": a_namespace("idle"), "api_wait_seconds": 1}
    async with served(create_app(settings.model_copy(update=idle))) as http:
        there, key = replace(billing, api=http), uuid4().hex
        path = f"/api/v1/invoices/{invoice_id}/approve"

        async def taken() -> bool:
            return (await there.post(path, DECISION)).status_code == 202

        await eventually(taken)
        assert (await there.post(path, DECISION, key)).status_code == 202
        repeated = await there.post(path, DECISION, key)

    refused(repeated, 409, "request-in-progress")
    assert repeated.headers["Location"] == f"/api/v1/invoices/{invoice_id}"


async def test_an_invoice_whose_owner_is_gone_is_closed_all_the_same(
    billing: Billing, settlements: None, temporal_client: Client
) -> None:
    """Terminate takes the owner away; the decision gives it another one."""
    owed = await declined(billing)
    await temporal_client.get_workflow_handle(invoice_workflow_id(owed["id"])).terminate()

    closed = await billing.post(f"/api/v1/invoices/{owed['id']}/write-off", DECISION)

    assert (closed.status_code, closed.json()["status"]) == (200, "WRITTEN_OFF"), closed.text


async def test_a_crawl_by_month_and_by_when_they_were_made_shows_no_other(
    billing: Billing,
) -> None:
    made = []
    for period in ("2026-03", "2026-04", "2026-05"):
        async with billing.database.begin(SYSTEM) as tx:
            id_ = new_id()
            await invoice.create_draft(
                tx, id_, billing.customer_id, period, "KRW", "settlement/-", "-"
            )
            made.append(id_)
    path = f"/api/v2/invoices?customerId={billing.customer_id}&size=1"
    async with billing.database.engine.connect() as tx:
        when = select(invoices.c.created_at).where(invoices.c.id == made[1])
        moment = quote((await tx.execute(when)).scalar_one().isoformat())

    assert ids_of(await crawled(billing, f"{path}&period=2026-04")) == [made[1]]
    assert ids_of(await crawled(billing, f"{path}&from={moment}")) == made[1:]
    assert ids_of(await crawled(billing, f"{path}&to={moment}")) == made[:1]
    first = await billing.get(path)
    assert first["hasMore"]
    other = await billing.api.get(f"{path}&to={moment}&cursor={first['nextCursor']}")
    refused(other, 400, "invalid-request")
