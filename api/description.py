"""What the OpenAPI document says beside the routes: what clients are generated from."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.routing import APIRoute
from pydantic.alias_generators import to_camel

from api.errors import PROBLEM

SUMMARY = "Payments, orchestrated by Temporal: no amount is lost, doubled or stuck."
DESCRIPTION = """
Amounts are integers in minor units of their currency: 1000 is ₩1,000 or $10.00. Moments are
RFC 3339 with an offset.

**Repeats are harmless.** A call that takes an `Idempotency-Key` does once what it does, however
often it is sent; the answer is the same, byte for byte, with `Idempotency-Replayed: true`. **202**
says that the work goes on: ask `Location`.

**Refusals** are problem documents (RFC 9457): `type` names the kind, which stays the same,
`detail` is one sentence for a person.
""".strip()
CONTACT = {"name": "Whoever runs this installation"}
SERVERS = [{"url": "/", "description": "This installation."}]
_TAGS: Mapping[str, str] = {
    "usage": "What customers consumed, an event or a thousand at a time.",
    "payments": "Orders and invoices paid by card, from the wallet, or both.",
    "orders": "What is to be paid, with coupons, stock and points.",
    "refunds": "Money that goes back, all of a payment or a part.",
    "wallet": "Prepaid money of a customer.",
    "points": "Points that orders earn and may be paid with.",
    "coupons": "Discounts, by code.",
    "inventory": "Stock of SKUs that are counted.",
    "rankings": "What sells best: a read model of the events.",
    "pricing plans": "Price lists, by version: what was effective when stays known.",
    "invoices": "What a month came to, its lineage, and what is owed.",
    "settlement": "Months that are priced, issued and collected.",
    "reviews": "What only a person may decide.",
    "gateways": "The PGs: how they do, and what waits for them.",
    "customers": "Who is billed, how, and with which cards.",
    "keys": "What customers and services call with who have no issuer of tokens.",
    "dead letters": "What could not be done or taken, and what is made of it.",
    "proposals": "Large decisions that wait for a second person.",
    "audit": "Who did what.",
    "access": "What a caller may do.",
    "webhooks": "What PGs tell us.",
    "operations": "Probes and metrics.",
}
TAGS = [{"name": name, "description": about} for name, about in _TAGS.items()]
"""What each group of calls is about."""

_HEADERS = {
    "Idempotency-Replayed": ("`true` where the answer was given before.", "true"),
    "Location": ("Where the thing is, or how it went on.", "/api/v1/payments/{id}"),
    "Retry-After": ("Seconds after which it makes sense to come again.", "1"),
}


def operation_id(route: APIRoute) -> str:
    """The name of a generated client's function: ours, so that it never changes with a path."""
    return to_camel(route.name)


def complete(document: dict[str, Any], routes: Iterable[APIRoute]) -> None:
    """Say what a refusal looks like, and which headers every call needs and answers with."""
    document["components"]["schemas"]["Problem"] = PROBLEM
    for route in routes:
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            keyed = [each for each in operation.get("parameters", ()) if _is_key(each)]
            for parameter in keyed:
                # We refuse its absence ourselves, in a problem document of its own.
                parameter["required"] = True
                parameter["schema"] = {"type": "string", "minLength": 1, "maxLength": 257}
            _describe_headers(operation["responses"], bool(keyed))


def _is_key(parameter: Mapping[str, Any]) -> bool:
    return bool(parameter["name"] == "Idempotency-Key")


def _describe_headers(responses: dict[str, dict[str, Any]], keyed: bool) -> None:
    for status, response in responses.items():
        names = ["Retry-After"] if status in ("4XX", "5XX") else []
        if keyed and status.startswith("2"):
            names.append("Idempotency-Replayed")
        if status == "202" or (keyed and status == "201"):
            names.append("Location")
        if names:
            # Not in place: what all calls answer alike is one object.
            responses[status] = {**response, "headers": {name: _header(name) for name in names}}


def _header(name: str) -> dict[str, Any]:
    description, example = _HEADERS[name]
    return {"description": description, "schema": {"type": "string"}, "example": example}
