"""How a customer is billed: time zone, plan, prepaid, days to pay."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest

from api.errors import TYPES
from tests.support.persons import by_two

NEW = {"timeZone": "UTC", "planCode": None, "prepaid": False, "dueDays": 14}


def path() -> str:
    return f"/api/v1/customers/c-{uuid4().hex}"


def terms_of(answer: httpx2.Response) -> dict[str, Any]:
    document = answer.json()
    assert set(document) == {"id", "createdAt", *NEW}, answer.text
    return {name: document[name] for name in NEW}


async def a_plan(api: httpx2.AsyncClient, **more: Any) -> str:
    code = f"p-{uuid4().hex}"
    made = await api.put(f"/api/v1/pricing-plans/{code}", json={"currency": "KRW", **more})
    assert made.status_code == 201, made.text
    return code


async def test_a_new_customer_pays_later_by_the_clock_of_utc(api: httpx2.AsyncClient) -> None:
    made = await api.put(path())

    assert (made.status_code, terms_of(made)) == (201, NEW)


async def test_terms_are_set_and_what_is_left_out_stays(api: httpx2.AsyncClient) -> None:
    where, plan = path(), await a_plan(api)
    terms = {"timeZone": "Asia/Seoul", "planCode": plan, "prepaid": True, "dueDays": 30}

    made = await api.put(where, json=terms)
    assert (made.status_code, terms_of(made)) == (201, terms)

    for same in (await api.put(where), await api.put(where, json={})):
        assert (same.status_code, same.json()) == (200, made.json())
    changed = await api.put(where, json={"prepaid": False, "dueDays": 0})
    assert terms_of(changed) == {**terms, "prepaid": False, "dueDays": 0}


async def test_a_plan_holds_from_now_on_or_from_when_it_is_said(api: httpx2.AsyncClient) -> None:
    where, first, second = path(), await a_plan(api), await a_plan(api)

    await api.put(where, json={"planCode": first})
    from_then_on = {"planCode": second, "planFrom": "2098-01-01T00:00:00Z"}
    later = await by_two(api, "PUT", where, from_then_on)
    assert later.json()["planCode"] == first
    now = await by_two(api, "PUT", where, {"planCode": second})
    assert now.json()["planCode"] == second


async def test_a_plan_that_begins_later_can_be_agreed(api: httpx2.AsyncClient) -> None:
    plan = await a_plan(api, effectiveFrom="2098-01-01T00:00:00Z")

    made = await api.put(path(), json={"planCode": plan})

    assert (made.status_code, made.json()["planCode"]) == (201, plan)


async def test_a_plan_that_was_withdrawn_cannot(api: httpx2.AsyncClient) -> None:
    where, plan = path(), await a_plan(api)
    assert (await api.put(where, json={"planCode": plan})).status_code == 201
    await by_two(api, "DELETE", f"/api/v1/pricing-plans/{plan}")

    refused = await api.put(path(), json={"planCode": plan})

    assert (refused.status_code, refused.json()["type"]) == (400, f"{TYPES}/invalid-request")
    assert terms_of(await api.put(where))["planCode"] == plan, "who has it keeps it"


@pytest.mark.parametrize(
    "terms",
    [
        {"planCode": "never-made"},
        {"planCode": ""},
        {"planCode": "a b"},
        {"planCode": 1},
        {"planFrom": "2026-05-01T00:00:00Z"},
        {"planFrom": "2026-05-01"},
        {"timeZone": "Asia/Nowhere"},
        {"timeZone": ""},
        {"timeZone": "../etc/passwd"},
        {"timeZone": "/etc/localtime"},
        {"timeZone": "Asia"},
        {"timeZone": "CET"},
        {"timeZone": "x" * 65},
        {"timeZone": "UTC\n"},
        {"timeZone": 9},
        {"prepaid": "true"},
        {"prepaid": 1},
        {"dueDays": -1},
        {"dueDays": 366},
        {"dueDays": 2**63},
        {"dueDays": 1.5},
        {"dueDays": "14"},
        {"dueDays": True},
        {"dueDay": 1},
        {"due_days": 1},
        {"id": "other"},
    ],
    ids=str,
)
async def test_what_cannot_be_agreed_makes_no_customer(
    api: httpx2.AsyncClient, terms: dict[str, Any]
) -> None:
    where = path()

    refused = await api.put(where, json=terms)

    assert (refused.status_code, refused.json()["type"]) == (400, f"{TYPES}/invalid-request")
    assert (await api.put(where)).status_code == 201
