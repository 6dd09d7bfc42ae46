"""Requests are counted and timed by what they are for, never by what a caller makes up."""

import httpx2
from prometheus_client import REGISTRY

from api.traffic import CLASSES, OTHER, REQUESTS, Traffic
from tests.support.billing import Billing
from tests.support.metrics import sample


def answered(method: str, route: str, status: str) -> float:
    return sample("billing_http_requests_total", method=method, route=route, status=status)


def timed(method: str, route: str) -> float:
    return sample("billing_http_request_seconds_count", method=method, route=route)


async def test_a_request_is_counted_by_its_route_and_the_class_of_its_status(
    billing: Billing,
) -> None:
    route = "/api/v1/orders/{order_id}"
    order = await billing.order()
    before = answered("GET", route, "2xx"), answered("GET", route, "4xx"), timed("GET", route)

    assert (await billing.api.get(f"/api/v1/orders/{order}")).status_code == 200
    assert (await billing.api.get("/api/v1/orders/no-such-order")).status_code == 400

    after = answered("GET", route, "2xx"), answered("GET", route, "4xx"), timed("GET", route)
    assert after == (before[0] + 1, before[1] + 1, before[2] + 2)


async def test_whatever_a_caller_makes_up_is_one_kind(billing: Billing) -> None:
    before = {status: answered(*OTHER, status) for status in CLASSES}

    assert (await billing.api.get("/api/v1/made-up")).status_code == 404
    assert (await billing.api.request("BREW", "/api/v1/orders")).status_code == 405
    assert (await billing.api.request("GET", "/api/v1/payments/1/made/up")).status_code == 404

    assert answered(*OTHER, "4xx") == before["4xx"] + 3
    names = {sample.labels["route"] for family in REQUESTS.collect() for sample in family.samples}
    assert not {name for name in names if "made" in name}


async def test_every_route_is_there_from_the_start(billing: Billing) -> None:
    families = [*REQUESTS.collect()]
    [samples] = [family.samples for family in families]
    routes = {(each.labels["method"], each.labels["route"]) for each in samples}

    assert {
        ("POST", "/api/v1/payments"),
        ("GET", "/metrics"),
        ("POST", "/webhooks/gateway/{name}"),
    } <= routes
    for method, route in routes:
        for status in CLASSES:
            assert answered(method, route, status) >= 0


async def test_an_application_that_breaks_is_a_5xx() -> None:
    async def broken(_1: object, _2: object, _3: object) -> None:
        raise ZeroDivisionError

    before = answered(*OTHER, "5xx")
    transport = httpx2.ASGITransport(app=Traffic(broken, []), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as http:
        assert (await http.get("/")).status_code == 500

    assert answered(*OTHER, "5xx") == before + 1


def test_counters_have_no_second_line_for_when_they_began() -> None:
    names = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    assert not {name for name in names if name.endswith("_created")}
