"""A usage event as it is written: our own JSON form, or a CloudEvent."""

import re
from collections.abc import Mapping, Set
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from domain.errors import InvalidRequest
from domain.identifier import EVENT_ID, NAME, has_form
from domain.strict_json import exact, parse
from domain.usage import MAX_QUANTITY, UsageEvent

_QUANTITY = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")
_MICRO = Decimal("0.000001")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"(Z|[+-][0-9]{2}:[0-5][0-9])",
    re.ASCII,
)
_FIELDS = {"eventId", "customerId", "resourceType", "quantity", "occurredAt"}
_ATTRIBUTES = {
    "id": "eventId",
    "subject": "customerId",
    "type": "resourceType",
    "time": "occurredAt",
}


def decode(body: bytes) -> Any:
    """The JSON value with its fractions as exact decimals; raises `InvalidRequest`."""
    return parse(body, exact)


def read(document: object) -> UsageEvent:
    """An event from its JSON value, in our own form or as a CloudEvent; raises `InvalidRequest`.

    A CloudEvent is told by its `specversion`. Its `id` is our eventId, `subject` our customerId,
    `type` our resourceType, `time` our occurredAt, and `data` holds `{"quantity"}`; any of our five
    fields may stand in `data` and then goes before the attribute.
    """
    if not isinstance(document, dict):
        raise InvalidRequest("A usage event is a JSON object.")
    fields = _of_cloud_event(document) if "specversion" in document else document
    if fields.keys() != _FIELDS:
        raise InvalidRequest(_difference(fields.keys()))
    return UsageEvent(
        customer_id=_text(fields, "customerId", NAME),
        event_id=_text(fields, "eventId", EVENT_ID),
        resource_type=_text(fields, "resourceType", NAME),
        quantity=_quantity(fields["quantity"]),
        occurred_at=_time(fields["occurredAt"]),
    )


def named(document: object) -> str | None:
    """The event id that a document bears, where there is one to be told."""
    if not isinstance(document, dict):
        return None
    name = document.get("eventId", document.get("id"))
    return name if has_form(name, EVENT_ID) else None


def _of_cloud_event(document: dict[str, Any]) -> dict[str, Any]:
    if document["specversion"] != "1.0":
        raise InvalidRequest("specversion: only CloudEvents 1.0 are understood.")
    data = document.get("data")
    if not isinstance(data, dict):
        raise InvalidRequest("data: is a JSON object with the quantity.")
    attributes = {ours: document[its] for its, ours in _ATTRIBUTES.items() if its in document}
    return {**attributes, **data}


def _difference(names: Set[str]) -> str:
    if missing := sorted(_FIELDS - names):
        return f"{missing[0]}: is missing."
    return f"{min(names - _FIELDS)[:50]!r} is no field of a usage event."


def _text(fields: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = fields[name]
    if has_form(value, form):
        return value
    raise InvalidRequest(f"{name}: is text of the form {form.pattern}.")


def _quantity(value: object) -> Decimal:
    if isinstance(value, str) and _QUANTITY.fullmatch(value):
        return Decimal(value)
    # To Python, a truth value is a number too.
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        quantity = Decimal(value)
        if 0 <= quantity < MAX_QUANTITY and quantity == quantity.quantize(_MICRO):
            return abs(quantity)
    raise InvalidRequest(
        "quantity: is a number, not negative, with at most 15 digits before the point and 6 after."
    )


def _time(value: object) -> datetime:
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (OverflowError, ValueError):
            pass
    raise InvalidRequest("occurredAt: is a time with an offset like 2026-05-01T09:30:00+09:00.")
