"""The second net: every route of the OpenAPI document, with the application's own filter removed.

PostgreSQL alone keeps one customer from the things of another then. With that net taken away as
well the same requests show them, so the tests can fail.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import text

from domain.access import SYSTEM, Access, Actor, Scope
from domain.roles import Role
from runtime.settings import Settings
from store.database import Database
from store.grants import OF_THE_ISSUER
from store.tables import metadata
from tests.api.calls import OF_NOBODY, ask, of_customers, with_everything
from tests.api.conftest import Acting
from tests.api.documents import refused
from tests.api.settling import NO_MONEY
from tests.support.billing import Billing


class Unfiltered(Access):
    """A customer to whom the application gives everything: nothing is required, and what nobody
    names is of everybody. The database is told the truth."""

    @property
    def for_everybody(self) -> bool:
        return True

    @property
    def scope(self) -> Scope:
        return Scope(Actor.CUSTOMER, self.customer_id)


class Unbound(Unfiltered):
    """And the database is told that it is the system."""

    @property
    def scope(self) -> Scope:
        return SYSTEM


def a_customer(billing: Billing, kind: type[Access] = Access) -> Access:
    return kind(f"test/{billing.customer_id}", frozenset({Role.CUSTOMER}), billing.customer_id)


async def somebody(billing: Billing) -> Billing:
    return await Billing.for_new_customer(billing.api, billing.simulator, billing.database)


def leaks(answer: httpx2.Response, said: set[str], foreign: Mapping[str, str]) -> list[str]:
    """What an answer tells of somebody else beside what it was asked for: an id that was not named,
    or, where it is none of the refusals, anything that is not nothing."""
    body = answer.text
    for each in said:
        body = body.replace(each, "")
    found = [f"{name} {id_}" for name, id_ in foreign.items() if id_ in body]
    if answer.is_success and foreign["customerId"] in said:
        found += [f"says {leaf!r}" for leaf in leaves(content(answer)) if leaf and leaf not in said]
    return found


def content(answer: httpx2.Response) -> Any:
    """A document, or the lines of a file below its head."""
    if answer.headers["Content-Type"].startswith("text/csv"):
        return answer.text.splitlines()[1:]
    return answer.json()


def leaves(value: Any) -> Iterator[Any]:
    """Everything that an answer says, but which page it is."""
    if isinstance(value, dict):
        value = [each for name, each in value.items() if name not in ("page", "size")]
    if isinstance(value, list):
        for each in value:
            yield from leaves(each)
    elif not isinstance(value, bool):
        yield value


async def rows_of(database: Database, customer_id: str) -> dict[str, str | None]:
    """Every row of a customer that stands for itself, as one hash by table. Not of the issuer: the
    API may not read its tables."""
    found = {}
    async with database.read(SYSTEM) as tx:
        for name, table in metadata.tables.items():
            column = "id" if name == "customers" else "customer_id"
            if column in table.c and name not in OF_THE_ISSUER:
                whole = f"SELECT md5(string_agg(r::text, ',' ORDER BY r::text)) FROM {name} r"  # noqa: S608
                mine = text(f"{whole} WHERE {column} = :whose")
                found[name] = await tx.scalar(mine, {"whose": customer_id})
    assert len(found) > 15
    return found


async def test_a_customer_is_served_by_every_route_that_is_for_customers(
    billing: Billing, settlements: None, settings: Settings, acting: Acting
) -> None:
    """As the database role that has few rights: they are enough for each."""
    await billing.add_card(NO_MONEY)
    mine = await with_everything(billing)
    mine["sku"] = await billing.put_stock(5)
    async with acting(a_customer(billing)) as http:
        for call in of_customers(settings):
            if call.path == "/auth/check":
                continue
            answer, said = await ask(http, call, mine)
            assert answer.is_success, f"{call}: {answer.status_code} {answer.text}"
            something = any(leaf for leaf in leaves(content(answer)) if leaf not in said)
            assert something or str(call) in OF_NOBODY, f"{call}: {answer.text}"
    again = await billing.get(f"/api/v1/invoices/{mine['invoice_id']}")
    assert again["status"] == "PAID"


@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
async def test_without_the_application_s_filter_nobody_meets_another(
    billing: Billing, settlements: None, settings: Settings, acting: Acting, named: bool
) -> None:
    """Whoever names the things of another, and whoever names nothing where all are listed then."""
    theirs = await with_everything(billing)
    me = await somebody(billing)
    mine = await with_everything(me)
    before = await rows_of(billing.database, billing.customer_id)
    asked = 0
    async with acting(a_customer(me, Unfiltered)) as http:
        for call in of_customers(settings):
            if str(call) in OF_NOBODY:
                continue
            wanted = {**theirs, "code": mine["code"]}
            if not named:
                if "{" in call.path or call.method != "GET":
                    continue
                # Usage of everybody has no end: it is listed of somebody only.
                wanted = {"customerId": me.customer_id} if call.path == "/api/v1/usage" else {}
            answer, said = await ask(http, call, wanted)
            assert not leaks(answer, said, theirs), f"{call}: {answer.text}"
            assert answer.status_code < 500, answer.text
            if not answer.is_success:
                assert answer.status_code == 404, f"{call}: {answer.text}"
            asked += 1
    assert asked >= (14 if named else 5)
    assert await rows_of(billing.database, billing.customer_id) == before


async def test_without_the_second_net_the_same_requests_show_everything(
    billing: Billing, settlements: None, settings: Settings, acting: Acting
) -> None:
    theirs = await with_everything(billing)
    me = await somebody(billing)
    found = set()
    async with acting(a_customer(me, Unbound)) as http:
        for call in of_customers(settings):
            if str(call) in OF_NOBODY or call.method != "GET":
                continue
            answer, said = await ask(http, call, theirs)
            if leaks(answer, said, theirs):
                found.add(str(call))
    assert len(found) >= 10, found


async def test_who_now_acts_for_another_customer_gets_no_answer_of_before(
    billing: Billing, acting: Acting
) -> None:
    """The same person, key and request: the answer was the first customer's, whoever keeps it."""
    body = {"orderId": await billing.order(1000), "method": "CARD"}
    first = a_customer(billing)
    then = replace(first, customer_id=(await somebody(billing)).customer_id)
    key = {"Idempotency-Key": uuid4().hex}

    async with acting(first) as http:
        paid, again = [await http.post("/api/v1/payments", json=body, headers=key) for _ in "ab"]
    async with acting(then) as http:
        refused(
            await http.post("/api/v1/payments", json=body, headers=key),
            422,
            "idempotency-key-reused",
        )

    assert paid.status_code == 201
    assert again.text == paid.text
