"""Price lists over HTTP."""

import asyncio
import json
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from api.errors import TYPES

FROM = "2026-01-01T00:00:00Z"
CALLS = {"resourceType": "API_CALL", "model": "PER_UNIT", "unitPrice": "1", "freeUnits": "10000"}
TIERS = [{"upTo": "10", "unitPrice": "2.5"}, {"upTo": None, "unitPrice": "0.0125"}]
WHOLE: dict[str, Any] = {
    "currency": "KRW",
    "effectiveFrom": FROM,
    "flatFee": 50_000,
    "minimum": 100_000,
    "charges": [
        CALLS,
        {"resourceType": "STORAGE_GB", "model": "GRADUATED", "tiers": TIERS},
        {"resourceType": "SEAT", "model": "VOLUME", "tiers": TIERS, "freeUnits": "0.5"},
        {"resourceType": "SMS", "model": "PACKAGE", "packageSize": "100", "packagePrice": 900},
    ],
}


def path() -> str:
    return f"/api/v1/pricing-plans/p-{uuid4().hex}"


def refused(answer: httpx2.Response, status: int, slug: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == f"{TYPES}/{slug}"
    assert len(answer.json()["detail"]) < 500


async def raw_put(api: httpx2.AsyncClient, where: str, body: str) -> httpx2.Response:
    headers = {"Content-Type": "application/json"}
    return await api.put(where, content=body.encode(), headers=headers)


async def test_a_plan_is_made_kept_and_read_back(api: httpx2.AsyncClient) -> None:
    where = path()

    made = await api.put(where, json=WHOLE)
    again = await api.put(where, json=WHOLE)

    assert (made.status_code, again.status_code) == (201, 200), made.text
    assert made.json() == again.json()
    assert (made.json()["version"], made.json()["withdrawn"]) == (1, False)
    assert (await api.get(where)).json() == {
        "code": where.rpartition("/")[2],
        "versions": [made.json()],
    }
    terms = {name: made.json()[name] for name in WHOLE}
    assert (await api.put(where, json=terms)).status_code == 200, "what was read can be put"
    assert terms["charges"][1]["tiers"] == TIERS


async def test_a_change_is_a_version_and_the_old_one_stays(api: httpx2.AsyncClient) -> None:
    where = path()
    first = await api.put(where, json=WHOLE)

    changed = await api.put(where, json={**WHOLE, "flatFee": 1})
    dated = await api.put(where, json={**WHOLE, "effectiveFrom": "2027-01-01T09:00:00+09:00"})

    assert (changed.status_code, dated.status_code) == (201, 201)
    assert dated.json()["effectiveFrom"] == "2027-01-01T00:00:00Z"
    versions = (await api.get(where)).json()["versions"]
    assert versions == [first.json(), changed.json(), dated.json()]


async def test_without_a_date_prices_hold_from_now_on_once(api: httpx2.AsyncClient) -> None:
    where, terms = path(), {"currency": "USD", "charges": [CALLS]}

    answers = await asyncio.gather(*(api.put(where, json=terms) for _ in range(5)))

    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 4}
    assert len({answer.text for answer in answers}) == 1
    since = datetime.fromisoformat(answers[0].json()["effectiveFrom"])
    dearer = await api.put(where, json={**terms, "minimum": 5})
    assert dearer.status_code == 201
    assert datetime.fromisoformat(dearer.json()["effectiveFrom"]) > since


async def test_a_withdrawn_plan_keeps_its_past(api: httpx2.AsyncClient) -> None:
    where = path()
    await api.put(where, json=WHOLE)

    first, second = await api.delete(where), await api.delete(where)

    assert (first.status_code, second.status_code, first.content) == (204, 204, b"")
    priced, withdrawn = (await api.get(where)).json()["versions"]
    assert (priced["withdrawn"], priced["flatFee"]) == (False, 50_000)
    assert (withdrawn["withdrawn"], withdrawn["currency"], withdrawn["charges"]) == (
        True,
        None,
        None,
    )


async def test_an_unknown_plan_is_not_found(api: httpx2.AsyncClient) -> None:
    where = path()

    refused(await api.get(where), 404, "not-found")
    refused(await api.delete(where), 404, "not-found")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("0.0012", "0.0012"),
        ("1", "1"),
        ("1.50", "1.5"),
        ("1e-7", "0.0000001"),
        ("1E2", "100"),
        ("0.0", "0"),
        ("123456789.123456", "123456789.123456"),
        ('"0.000000000001"', "0.000000000001"),
        ('"0.100000000000"', "0.1"),
        ('"999999999999.999999999999"', "999999999999.999999999999"),
    ],
)
async def test_unit_prices_are_kept_digit_by_digit(
    api: httpx2.AsyncClient, sent: str, kept: str
) -> None:
    where = path()
    terms = json.dumps({**WHOLE, "charges": [{**CALLS, "unitPrice": "@"}]})

    made = await raw_put(api, where, terms.replace('"@"', sent))

    assert made.status_code == 201, made.text
    assert made.json()["charges"][0]["unitPrice"] == kept


NOT_DECIMALS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "1e-400",
    "1e-99999999999999999999",
    "1e300",
    "0.10000000000000000001",
    "0.12345678901234567",
    "-1",
    "-0.0",
    "-0.5",
    "true",
    "null",
    "[]",
    "{}",
    "9223372036854775808",
    "1" * 30,
    "1" * 5_000,
    "1000000000001",
    "0.0000000000001",
    '""',
    '" 1"',
    '"1 "',
    '"1\\n"',
    '"-1"',
    '"+1"',
    '"1e3"',
    '"1_000"',
    '"1,5"',
    '".5"',
    '"NaN"',
    '"Infinity"',
    '"٣"',
    '"0x10"',
    '"9223372036854775808"',
    '"1000000000001"',
    '"0.0000000000001"',
    '"' + "1" * 10_000 + '"',
]


@pytest.mark.parametrize("sent", NOT_DECIMALS, ids=lambda sent: sent[:25])
async def test_what_is_no_price_is_refused(api: httpx2.AsyncClient, sent: str) -> None:
    where = path()
    terms = json.dumps({**WHOLE, "charges": [{**CALLS, "unitPrice": "@"}]})

    refused(await raw_put(api, where, terms.replace('"@"', sent)), 400, "invalid-request")
    assert (await api.get(where)).status_code == 404


def charged(**terms: Any) -> dict[str, Any]:
    return {**WHOLE, "charges": [{"resourceType": "R", "model": "PER_UNIT", **terms}]}


def tiered(*tiers: Any) -> dict[str, Any]:
    return charged(model="GRADUATED", tiers=list(tiers))


LAST = {"upTo": None, "unitPrice": "1"}
WRONG: list[Any] = [
    None,
    [],
    "plan",
    {},
    {**WHOLE, "currency": "XXX"},
    {**WHOLE, "currency": "krw"},
    {**WHOLE, "currency": None},
    {**WHOLE, "flatFee": -1},
    {**WHOLE, "flatFee": 1.5},
    {**WHOLE, "flatFee": "1"},
    {**WHOLE, "flatFee": True},
    {**WHOLE, "flatFee": 10**12 + 1},
    {**WHOLE, "minimum": 2**63},
    {**WHOLE, "minimum": -(2**63)},
    {**WHOLE, "effectiveFrom": "2026-01-01"},
    {**WHOLE, "effectiveFrom": "2026-01-01T00:00:00"},
    {**WHOLE, "effectiveFrom": "0001-01-01T00:00:00+14:00"},
    {**WHOLE, "effectiveFrom": "9999-12-31T23:59:59-14:00"},
    {**WHOLE, "effectiveFrom": 1767225600},
    {**WHOLE, "effectiveFrom": ""},
    {**WHOLE, "price": 1},
    {**WHOLE, "flat_fee": 1},
    {**WHOLE, "charges": None},
    {**WHOLE, "charges": {}},
    {**WHOLE, "charges": [None]},
    {**WHOLE, "charges": [CALLS, CALLS]},
    {**WHOLE, "charges": [{**CALLS, "resourceType": f"R-{n}"} for n in range(101)]},
    charged(),
    charged(unitPrice="1", resourceType=""),
    charged(unitPrice="1", resourceType="a b"),
    charged(unitPrice="1", resourceType="R\n"),
    charged(unitPrice="1", resourceType="R\u0000"),
    charged(unitPrice="1", resourceType="x" * 65),
    charged(unitPrice="1", model="per_unit"),
    charged(unitPrice="1", model="FREE"),
    charged(unitPrice="1", freeUnits="-1"),
    charged(unitPrice="1", freeUnits="1000000000000001"),
    charged(unitPrice="1", freeUnits="0.0000001"),
    charged(unitPrice="1", freeUnits=None),
    charged(unitPrice="1", tiers=[LAST]),
    charged(unitPrice="1", packageSize="1"),
    charged(unitPrice="1", unit="call"),
    charged(model="PACKAGE", packagePrice=1),
    charged(model="PACKAGE", packageSize="1"),
    charged(model="PACKAGE", packageSize="0", packagePrice=1),
    charged(model="PACKAGE", packageSize="1", packagePrice="1"),
    charged(model="PACKAGE", packageSize="1", packagePrice=-1),
    charged(model="PACKAGE", packageSize="1", packagePrice=2**63),
    charged(model="VOLUME"),
    charged(model="VOLUME", tiers=[LAST], unitPrice="1"),
    tiered(),
    tiered({"upTo": "5", "unitPrice": "1"}),
    tiered({"upTo": None, "unitPrice": "1"}, LAST),
    tiered({"upTo": "0", "unitPrice": "1"}, LAST),
    tiered({"upTo": "5", "unitPrice": "1"}, {"upTo": "5", "unitPrice": "1"}, LAST),
    tiered({"upTo": "5", "unitPrice": "1"}, {"upTo": "4", "unitPrice": "1"}, LAST),
    tiered({"upTo": "5"}, LAST),
    tiered({"from": "0", **LAST}),
    tiered({"upTo": "-5", "unitPrice": "1"}, LAST),
    tiered({"upTo": "inf", "unitPrice": "1"}),
    tiered(*({"upTo": n, "unitPrice": "1"} for n in range(1, 101)), LAST),
]


@pytest.mark.parametrize("body", WRONG, ids=lambda body: json.dumps(body)[-40:])
async def test_what_is_no_price_list_is_refused(api: httpx2.AsyncClient, body: Any) -> None:
    where = path()

    refused(await raw_put(api, where, json.dumps(body)), 400, "invalid-request")
    assert (await api.get(where)).status_code == 404


async def test_an_amount_named_twice_or_a_broken_body_is_refused(api: httpx2.AsyncClient) -> None:
    where = path()

    for body in ('{"currency":"KRW","minimum":1,"minimum":2}', '{"currency":"KRW"', "\ud800"):
        sent = body.encode(errors="surrogatepass")
        headers = {"Content-Type": "application/json"}
        refused(await api.put(where, content=sent, headers=headers), 400, "invalid-request")
    refused(await api.put(where, content=b"{}"), 415, "unsupported-media-type")
    refused(await api.put(where), 400, "invalid-request")


async def test_a_code_has_a_form(api: httpx2.AsyncClient) -> None:
    for code in ("a b", "x" * 65, "a%00", "%F0%9F%92%B8"):
        where = f"/api/v1/pricing-plans/{code}"
        refused(await api.put(where, json=WHOLE), 400, "invalid-request")
