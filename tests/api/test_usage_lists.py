"""Usage events, page by page and as a file: the very events behind an amount."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from io import StringIO
from typing import Any

import orjson
import pytest
from temporalio.client import Client

from domain.access import SYSTEM, Access
from domain.roles import Role
from domain.usage import Wanted
from service import invoice as invoices
from service.invoice import CutShort
from store import usage
from store.database import Database
from tests.api.conftest import Acting
from tests.api.documents import refused
from tests.api.settling import PERIOD, invoiced, plan, price, settle, use, waiting_draft
from tests.support.billing import Billing
from tests.support.desks import desk
from tests.support.persons import put

USAGE = "/api/v1/usage"


async def events(billing: Billing, path: str, **query: Any) -> list[str]:
    answer = await billing.api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return [each["eventId"] for each in answer.json()["items"]]


async def walked(billing: Billing, path: str, **query: Any) -> list[str]:
    """Every page of it, two by two."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await billing.api.get(path, params={"limit": 2, **query, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [each["eventId"] for each in page["items"]]
        if not page["hasMore"]:
            return found
        cursor = {"cursor": page["nextCursor"]}


async def test_usage_is_found_by_whose_when_and_what_it_is(billing: Billing) -> None:
    who = {"customerId": billing.customer_id}
    await put(billing.api, f"/api/v1/customers/{billing.customer_id}", {"timeZone": "Asia/Seoul"})
    april = await use(billing, 1, "2026-04-30T14:59:59Z")
    may = await use(billing, 2, "2026-04-30T15:00:00Z")
    stored = await use(billing, 3, "2026-05-20T00:00:00Z", "STORAGE")
    void = await use(billing, 4, "2026-05-21T00:00:00Z")
    voided = {**who, "eventId": void, "reason": "a test"}
    assert (await billing.api.post(f"{USAGE}/void", json=voided)).status_code == 200

    assert await events(billing, USAGE, **who) == [void, stored, may, april]
    assert await walked(billing, USAGE, **who) == [void, stored, may, april]
    assert await events(billing, USAGE, **who, period="2026-05") == [void, stored, may]
    since = {"from": "2026-05-20T00:00:00Z"}
    assert await events(billing, USAGE, **who, period="2026-05", **since) == [void, stored]
    assert await events(billing, USAGE, **who, to="2026-04-30T15:00:00Z") == [april]
    assert await events(billing, USAGE, **who, resourceType="STORAGE") == [stored]
    assert await events(billing, USAGE, **who, voided="true") == [void]
    assert await events(billing, USAGE, **who, voided="false") == [stored, may, april]
    [event] = (await billing.get(f"{USAGE}?customerId={billing.customer_id}&voided=true"))["items"]
    assert event.pop("receivedAt")
    assert event == {
        "eventId": void,
        "customerId": billing.customer_id,
        "resourceType": "API_CALL",
        "quantity": "4",
        "occurredAt": "2026-05-21T00:00:00Z",
        "invoiceId": None,
        "voidReason": "a test",
    }


@pytest.mark.parametrize(
    "query",
    ["", "period=2026-05&invoiceId=019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11", "customerId=x&period=5"],
)
async def test_usage_of_nobody_is_not_listed(billing: Billing, query: str) -> None:
    refused(await billing.api.get(f"{USAGE}?{query}"), 400, "invalid-request")


async def test_a_customer_lists_its_own_usage_and_the_events_of_its_own_invoices(
    billing: Billing, settlements: None, acting: Acting
) -> None:
    other = await Billing.for_new_customer(billing.api, billing.simulator, billing.database)
    theirs = (await invoiced(other))["id"]
    made = (await invoiced(billing))["id"]
    me = Access("test", frozenset({Role.CUSTOMER}), billing.customer_id)

    async with acting(me) as http:
        [mine] = (await http.get(USAGE)).json()["items"]
        of_it = await http.get(f"/api/v1/invoices/{made}/lineage/events")
        assert (mine["invoiceId"], of_it.json()["items"]) == (made, [mine])
        file = await http.get(f"/api/v1/invoices/{made}/lineage/events/export?format=jsonl")
        assert orjson.loads(file.content) == mine
        assert (await http.get(USAGE, params={"invoiceId": theirs})).json()["items"] == []
        for path in (
            f"{USAGE}?customerId={other.customer_id}",
            f"/api/v1/invoices/{theirs}/lineage/events",
            f"/api/v1/invoices/{theirs}/lineage/events/export",
        ):
            refused(await http.get(path), 404, "not-found")


async def test_the_events_of_an_invoice_come_to_its_lines(
    billing: Billing, settlements: None
) -> None:
    """Page by page and in both files, also of late usage and of a draft; whole and line by line."""
    code = await plan(billing)
    await price(billing, code, "STORAGE")
    for day, quantity in ((1, 11_000), (9, 500), (31, 7)):
        await use(billing, quantity, f"{PERIOD}-{day:02}T12:00:00Z")
    for quantity in (3, 4):
        await use(billing, quantity, f"{PERIOD}-15T00:00:00Z", "STORAGE")
    await settle(billing)
    for _ in range(3):
        await use(billing, 1_000, f"{PERIOD}-20T00:00:00Z")
    await use(billing, 20_000, "2026-06-10T00:00:00Z")
    status, june = await settle(billing, "2026-06")
    assert (status, june["status"]) == (202, "AWAITING_APPROVAL")
    lines = 0
    for bill in (await billing.get(f"/api/v1/invoices?customerId={billing.customer_id}"))["items"]:
        path = f"/api/v1/invoices/{bill['id']}/lineage"
        tables = [await table(billing, f"{path}/events/export?format={each}") for each in FORMATS]
        assert tables[0] == tables[1]
        named = [each["eventId"] for each in tables[0]]
        assert await walked(billing, f"{path}/events") == named[::-1]
        assert await walked(billing, USAGE, invoiceId=bill["id"]) == named[::-1]
        for each in (await billing.get(path))["lines"]:
            line = each["line"]
            of_it = f"resourceType={line['resourceType']}&period={line['period']}"
            some = await table(billing, f"{path}/events/export?{of_it}")
            assert (len(some), sums(some)) == (
                each["events"],
                {line["resourceType"]: Decimal(line["quantity"])},
            )
            lines += 1
        assert sum(sums(tables[0]).values()) == sum(
            Decimal(each["quantity"]) for each in bill["lines"]
        )
    assert lines == 4


FORMATS = ("csv", "jsonl")


async def table(billing: Billing, path: str) -> list[dict[str, Any]]:
    """What a file says, whatever its form; '' is null in one of them."""
    answer = await billing.api.get(path)
    assert answer.status_code == 200, answer.text
    form = answer.headers["Content-Disposition"].rpartition(".")[2].strip('"')
    if form == "csv":
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        rows: list[dict[str, Any]] = list(csv.DictReader(StringIO(answer.text)))
        return [{name: value or None for name, value in row.items()} for row in rows]
    assert answer.headers["Content-Type"] == "application/jsonl"
    return [orjson.loads(line) for line in answer.content.splitlines()]


def sums(rows: Sequence[Mapping[str, Any]]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        found[row["resourceType"]] += Decimal(row["quantity"])
    return dict(found)


async def test_who_takes_events_away_is_noted_each_time(
    billing: Billing, settlements: None
) -> None:
    made = await invoiced(billing)
    for _ in range(2):
        await table(billing, f"/api/v1/invoices/{made['id']}/lineage/events/export")

    noted = await billing.get(f"/api/v1/audit?targetId={made['id']}&action=DATA_EXPORTED")

    assert [each["after"] for each in noted["items"]] == [{"events": 1}] * 2


async def test_a_file_for_people_holds_no_formula(billing: Billing, settlements: None) -> None:
    event_id = "=HYPERLINK('http://a','b')"
    event = {"eventId": event_id, "customerId": billing.customer_id, "resourceType": "API_CALL"}
    when = {"quantity": 20_000, "occurredAt": f"{PERIOD}-10T00:00:00Z"}
    assert (await billing.api.post("/api/v1/usage", json={**event, **when})).status_code == 202
    made = await invoiced(billing)
    path = f"/api/v1/invoices/{made['id']}/lineage/events/export"

    files = [
        {each["eventId"] for each in await table(billing, f"{path}?format={form}")}
        for form in FORMATS
    ]

    assert [event_id in each for each in files] == [False, True]
    assert f"'{event_id}" in files[0]


async def test_what_bills_nothing_has_no_events(billing: Billing, settlements: None) -> None:
    """A draft that waits has them, one that was rejected has none any more."""
    draft = await waiting_draft(billing)
    path = f"/api/v1/invoices/{draft['id']}"
    assert len(await events(billing, f"{path}/lineage/events")) == 1
    decided = await billing.post(f"{path}/reject", {"reason": "a test"})
    assert decided.json()["status"] == "REJECTED"

    refused(await billing.api.get(f"{path}/lineage/events"), 409, "invoice-not-issued")
    refused(await billing.api.get(f"{path}/lineage/events/export"), 409, "invoice-not-issued")


async def test_a_file_that_is_not_whole_does_not_end_as_if_it_were(
    billing: Billing, database: Database, settlements: None, temporal_client: Client
) -> None:
    """Its events were given back after it had begun."""
    made = await invoiced(billing)
    whoever = Access("test", frozenset({Role.OPERATOR}), "")

    at_a_desk = desk(database, temporal_client)
    batches = await invoices.exported(at_a_desk, whoever, made["id"], Wanted())
    billing.leaves_residue()
    async with database.begin(SYSTEM) as tx:
        await usage.release(tx, made["id"])

    with pytest.raises(CutShort):
        async for _ in batches:
            pass
