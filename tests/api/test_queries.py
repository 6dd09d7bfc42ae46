"""Every call takes the query parameters that it knows, each once."""

import re
from typing import Any
from uuid import uuid4

import pytest

from api.app import create_app
from runtime.settings import Settings
from tests.api.documents import refused
from tests.api.test_webhooks import deliver
from tests.support.billing import Billing

DESCRIBED: dict[str, Any] = create_app(
    Settings.model_validate({"billing_environment": "dev"})
).openapi()["paths"]
CALLS = [
    (method.upper(), path)
    for path, operations in DESCRIBED.items()
    for method in operations
    if path.startswith("/api/")
]


def parameters(method: str, path: str) -> list[str]:
    described = DESCRIBED[path][method.lower()].get("parameters", [])
    return [each["name"] for each in described if each["in"] == "query"]


def address(path: str) -> str:
    named = {
        "period": "2026-05",
        "customerId": "c",
        "code": "c",
        "sku": "s",
        "name": "n",
        "key_id": "a" * 8,
    }
    named |= {"messageId": "01890000000070008000000000000000"}
    nouns = ("order", "payment", "refund", "invoice", "dead_letter", "proposal", "job")
    ids = dict.fromkeys(("id", *(f"{noun}_id" for noun in nouns)), str(uuid4()))
    return path.format(**named, **ids)


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_an_unknown_parameter_is_refused_by_its_name_with_those_that_are_known(
    billing: Billing, method: str, path: str
) -> None:
    known = parameters(method, path)
    given = f"?{known[0]}=demo&unknown=1" if known else "?unknown=1"

    answer = await billing.api.request(method, address(path) + given)

    refused(answer, 400, "invalid-request")
    takes = ", ".join(known) or "none"
    sentence = f"'unknown' is no query parameter of this call: it takes {takes}."
    assert answer.json()["detail"] == sentence


@pytest.mark.parametrize(
    ("method", "path", "name"), [(*call, name) for call in CALLS for name in parameters(*call)]
)
async def test_a_parameter_that_comes_twice_is_refused(
    billing: Billing, method: str, path: str, name: str
) -> None:
    answer = await billing.api.request(method, f"{address(path)}?{name}=1&{name}=1")

    refused(answer, 400, "invalid-request")
    assert answer.json()["detail"] == f"{name}: is given 2 times, and takes one value."


@pytest.mark.parametrize(
    ("method", "path", "name"), [(*call, name) for call in CALLS for name in parameters(*call)]
)
async def test_a_parameter_with_a_character_that_postgresql_does_not_take_is_refused(
    billing: Billing, method: str, path: str, name: str
) -> None:
    answer = await billing.api.request(method, f"{address(path)}?{name}=a%00b")

    refused(answer, 400, "invalid-request")
    assert answer.json()["detail"] == f"{name}: holds a NUL character."


@pytest.mark.parametrize(("method", "path"), [call for call in CALLS if "{" in call[1]])
async def test_so_is_one_in_an_address(billing: Billing, method: str, path: str) -> None:
    answer = await billing.api.request(method, re.sub(r"{[^}]+}", "a%00b", path))

    refused(answer, 400, "invalid-request")
    assert "holds a NUL character." in answer.json()["detail"]


@pytest.mark.parametrize(
    "query", ["status=ISSUED", "size=1&Size=2", "=1", "customer_id=demo", "%00"]
)
async def test_what_is_nearly_a_parameter_is_none(billing: Billing, query: str) -> None:
    """`status` is known to v2 only."""
    answer = await billing.api.get(f"/api/v1/invoices?{query}")

    refused(answer, 400, "invalid-request")
    assert "it takes customerId, page, size" in answer.json()["detail"]


async def test_a_prober_or_a_gateway_may_add_parameters_of_its_own(billing: Billing) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/swagger"):
        assert (await billing.api.get(f"{path}?at=1&at=2")).status_code == 200, path

    event = {"id": f"evt_{uuid4().hex}"}
    assert (await deliver(billing.api, event, query="?retry=1")).status_code == 204
