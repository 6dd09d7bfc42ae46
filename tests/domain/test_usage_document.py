"""Reading usage events: exactly, in two forms, and never more than is allowed."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest
from domain.usage_document import decode, named, read

PLAIN: dict[str, Any] = {
    "eventId": "e-1",
    "customerId": "acme-corp",
    "resourceType": "API_CALL",
    "quantity": 150,
    "occurredAt": "2026-05-01T09:30:00+09:00",
}
CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/gateway",
    "subject": "acme-corp",
    "type": "API_CALL",
    "time": "2026-05-01T00:30:00Z",
    "traceparent": "00-…",
    "data": {"quantity": 150},
}

BAD: dict[str, list[Any]] = {
    "eventId": ["", "a b", "a\n", "e" * 129, "é", "\x00", "\ud800", 1, None],
    "customerId": ["", "a/b", "c" * 65, "a\n", "\ud800", 1, [], {}],
    "resourceType": ["", "API CALL", "R" * 65, "A\n", "\x00", False],
    "occurredAt": [
        *["", "2026-05-01", "2026-05-01T00:00:00", 1777593600, None],
        *["2026-02-30T00:00:00Z", "2026-05-01T24:00:01Z", "2026-05-01T00:00:60Z"],
        *["2026-05-01T00:00:00+24:00", "2026-W18-5T00:00:00Z", "20260501T000000Z"],
        *["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"],
        "٢٠٢٦-05-01T00:00:00Z",
    ],
}
BAD_DATA: list[Any] = [None, 5, "text", [], {}, {"quantity": None}, {"quantity": 1, "more": 2}]
BAD_DOCUMENTS: list[Any] = [
    *[None, 1, "text", [], [PLAIN], {}, {**PLAIN, "more": 1}, {**PLAIN, "\ud800": 1}],
    *[{**CLOUD_EVENT, "data": data} for data in BAD_DATA],
    *[{**CLOUD_EVENT, "specversion": "0.3"}, {**CLOUD_EVENT, "specversion": 1.0}],
    *[{**CLOUD_EVENT, "specversion": None}, {"specversion": "1.0"}],
]


def test_a_cloud_event_is_the_same_event() -> None:
    assert read(CLOUD_EVENT) == read(PLAIN)
    assert read(PLAIN).occurred_at == datetime(2026, 5, 1, 0, 30, tzinfo=UTC)


def test_the_data_of_a_cloud_event_go_before_its_attributes() -> None:
    document = {**CLOUD_EVENT, "type": "com.acme.usage.v1", "data": PLAIN | {"eventId": "e-2"}}

    assert read(document) == read(PLAIN | {"eventId": "e-2"})


@given(st.decimals(0, Decimal("999999999999999.999999"), places=6))
def test_a_quantity_is_exact_as_number_and_as_text(quantity: Decimal) -> None:
    digits = f"{abs(quantity):f}"
    for written in (digits, f'"{digits}"'):
        body = json.dumps({**PLAIN, "quantity": 0}).replace(
            '"quantity": 0', f'"quantity":{written}'
        )
        assert read(decode(body.encode())).quantity == quantity


@pytest.mark.parametrize(
    "written", ["0", "-0", "-0.0", "1e3", "1.0000000", "0e-400", '"0.5"', "1E14"]
)
def test_numbers_of_json_are_taken(written: str) -> None:
    body = json.dumps({**PLAIN, "quantity": 0}).replace('"quantity": 0', f'"quantity": {written}')
    quantity = read(decode(body.encode())).quantity
    assert quantity == Decimal(written.strip('"'))
    assert not quantity.is_signed()


@pytest.mark.parametrize(
    "written",
    [
        *["-1", "-0.000001", "0.0000001", "1e-7", "1000000000000000", "1e15", "1e400", "1e-400"],
        *["1e99999999999999999999", "9" * 4000, "9" * 5000, "0." + "1" * 100_000],
        *["NaN", "Infinity", "-Infinity", "true", "false", "null", "[1]", "{}", '""', '"-1"'],
        *['"1e3"', '" 1"', '"1 "', '"1\\n"', '"+1"', '".5"', '"1."', '"1_0"', '"١"', '"NaN"'],
        *['"0x10"', '"1000000000000000"', '"0.0000001"', '"1,5"'],
    ],
)
def test_other_quantities_are_refused(written: str) -> None:
    body = json.dumps({**PLAIN, "quantity": 0}).replace('"quantity": 0', f'"quantity": {written}')
    with pytest.raises(InvalidRequest):
        read(decode(body.encode()))


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD.items() for value in values]
)
def test_other_fields_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: "):
        read({**PLAIN, field: value})


@pytest.mark.parametrize("field", sorted(PLAIN))
def test_no_field_may_be_missing(field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: is missing"):
        read({name: value for name, value in PLAIN.items() if name != field})


@pytest.mark.parametrize("value", BAD_DOCUMENTS)
def test_other_documents_are_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        read(value)


@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"{", b"\xff", b"\xef\xbb\xbf{}", b'{"a":1,"a":2}', b"[NaN]", b"{} {}"],
        *[b"[" * 100_000, b"[1e99999999999999999999]", b"[" + b"9" * 5000 + b"]", b"{'a':1}"],
    ],
)
def test_what_is_not_strict_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(body)


def test_a_refused_event_is_named_where_it_can_be() -> None:
    assert named({"eventId": "e-1", "quantity": -1}) == "e-1"
    assert named({"specversion": "1.0", "id": "e-1"}) == "e-1"


@pytest.mark.parametrize("value", [None, [], {}, {"eventId": "\ud800"}, {"eventId": 1}])
def test_what_bears_no_event_id_has_no_name(value: object) -> None:
    assert named(value) is None
