"""Whatever is sent, the answer is a 4xx with a code, and the book stays empty."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    import httpx2

    from tests.dev.simulator.conftest import Gateway

GOOD = {"orderId": "o", "amount": 1, "currency": "KRW", "billingKey": "bk_4242424242424242"}


def refused(answer: httpx2.Response) -> bool:
    body = answer.json()
    return 400 <= answer.status_code < 500 and {"code", "message"} == body.keys()


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 0},
        {"amount": -1},
        {"amount": "1"},
        {"amount": 1.0},
        {"amount": True},
        {"amount": None},
        {"amount": 10**13 + 1},
        {"amount": 2**63},
        {"currency": "krw"},
        {"currency": "KRW\n"},
        {"currency": ["KRW"]},
        {"orderId": ""},
        {"orderId": "a/b"},
        {"orderId": "o" * 129},
        {"orderId": "o'; DROP TABLE payments; --"},
        {"orderId": "\x00"},
        {"billingKey": ""},
        {"billingKey": "bk_"},
        {"billingKey": "4111111111111111"},
        {"capture": "yes"},
        {"capture": None},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_charge_with_one_wrong_field_is_refused(
    gateway: Gateway, change: dict[str, object]
) -> None:
    assert refused(gateway.post("/v1/charges", GOOD | change, "k"))
    assert gateway.payments() == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"amount": NaN}',
        b'{"amount": 1e400}',
        b'{"amount": ' + b"9" * 5000 + b"}",
        b'{"orderId": "\\ud800"}',
        b'{"\\ud800": 1}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
    ids=lambda raw: repr(raw[:20]),
)
@pytest.mark.parametrize(
    "path",
    [
        "/v1/charges",
        "/v1/billing-keys",
        "/v1/payments/o/refunds",
        "/control/behaviours",
        "/control/outage",
    ],
)
def test_a_body_that_is_no_request_is_refused(gateway: Gateway, path: str, raw: bytes) -> None:
    headers = {"Idempotency-Key": "k", "content-type": "application/json"}

    assert refused(gateway.client.post(path, content=raw, headers=headers))


@pytest.mark.parametrize("key", [None, b"", b"a b", b"k" * 256, b"\xe9"])
def test_a_key_that_is_none_is_refused(gateway: Gateway, key: bytes | None) -> None:
    headers = {} if key is None else {b"Idempotency-Key": key}

    for path in ("/v1/charges", "/v1/payments/o/void"):
        assert refused(gateway.client.post(path, json=GOOD, headers=headers))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/charges"),
        ("DELETE", "/v1/payments/o"),
        ("GET", "/v1/payments/%00"),
        ("GET", "/v1/payments/%ed%a0%80"),
        ("GET", "/v1/payments/" + "o" * 129),
        ("GET", "/v1/payments/o/refunds/%27"),
        ("POST", "/v1/payments/%2e%2e%2f/void"),
        ("GET", "/v1/book?orderId=%00%ff"),
    ],
)
def test_an_address_that_is_none_is_refused(gateway: Gateway, method: str, path: str) -> None:
    assert refused(gateway.client.request(method, path, headers={"Idempotency-Key": "k"}))


@pytest.mark.parametrize(
    "entry",
    [
        {"operation": "inquire", "behaviour": "decline"},
        {"operation": "explode", "behaviour": "decline"},
        {"behaviour": "explode"},
        {"behaviour": "slow", "seconds": -1},
        {"behaviour": "slow", "seconds": 1e12},
        {"behaviour": "slow", "times": 0},
        {"behaviour": "decline", "declineCode": "\ud800"},
        {"behaviour": "decline", "orderId": "\ud800"},
        {"behaviour": "decline", "typo": 1},
    ],
    ids=ascii,
)
def test_a_behaviour_that_is_none_is_refused(gateway: Gateway, entry: dict[str, object]) -> None:
    assert refused(gateway.client.post("/control/behaviours", content=_ascii(entry), headers=_JSON))


@pytest.mark.parametrize("url", ["", "no address", "ftp://host/", "http://", "http://[::1", 7])
def test_a_webhook_address_that_is_none_is_refused(gateway: Gateway, url: object) -> None:
    assert refused(gateway.client.put("/control/webhook", json={"url": url}))


_JSON = {"content-type": "application/json"}

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, database=None)
@given(fields=st.dictionaries(st.sampled_from(sorted(GOOD)) | st.text(), _json, min_size=1))
def test_no_charge_is_an_error_of_the_gateway(
    shared_gateway: Gateway, fields: dict[str, object]
) -> None:
    headers = _JSON | {"Idempotency-Key": "k"}
    answer = shared_gateway.client.post(
        "/v1/charges", content=_ascii(GOOD | fields), headers=headers
    )

    assert answer.status_code < 500
    assert answer.json()


def _ascii(value: object) -> bytes:
    return json.dumps(value).encode()
