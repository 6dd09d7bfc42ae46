"""What the API says about itself, and that it needs no network to say it."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.app import create_app
from runtime.settings import Settings
from tests.support import programs
from tests.support.billing import Billing

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def described() -> Schema:
    return create_app(Settings.model_validate({"billing_environment": "dev"})).openapi()


def operations(described: Schema) -> Iterator[tuple[str, Schema]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


PUBLISHED = {
    "listProposals",
    "withdrawProposal",
    "addPaymentMethod",
    "approveInvoice",
    "cancelInvoice",
    "cancelPayment",
    "checkAccess",
    "claimCoupon",
    "crawlInvoices",
    "createKey",
    "createOrder",
    "createPayment",
    "createRefund",
    "createTopUp",
    "getAgedReceivables",
    "getCoupon",
    "getCustomer",
    "getInvoice",
    "getInvoiceLineage",
    "getOrder",
    "getPayment",
    "getPaymentMethods",
    "getPlan",
    "getPoints",
    "getRankings",
    "getRefund",
    "getSettlementRun",
    "getStatus",
    "getStock",
    "getWallet",
    "hurryGateway",
    "getWalletTransactions",
    "listAuditEntries",
    "listGateways",
    "listInvoices",
    "listKeys",
    "exportInvoiceEvents",
    "listCoupons",
    "listCustomers",
    "listInvoiceEvents",
    "listOrders",
    "listPayments",
    "listPlans",
    "listRefunds",
    "listSettlements",
    "listReviews",
    "listUnreturnedStock",
    "listUsage",
    "listWallets",
    "listWebhooks",
    "live",
    "markPaidOutside",
    "metrics",
    "payInvoice",
    "putCoupon",
    "putCustomer",
    "putPlan",
    "putStock",
    "ready",
    "receiveGatewayWebhook",
    "rejectInvoice",
    "replaySettlementRun",
    "reportUsage",
    "reportUsageBatch",
    "resolvePayment",
    "resolveRefund",
    "revokeKey",
    "rotateKey",
    "settleCustomer",
    "startSettlementRun",
    "withdrawPlan",
    "writeOffInvoice",
}


# Prices and quantities may be finer than minor units and pieces: decimals, written exactly.
EXACT = {
    "Arithmetic": {"string"},
    "CountedUsage": {"string"},
    "InvoiceLine": {"string"},
    "ChargePrices": {"string", "number"},
    "TierPrice": {"string", "number"},
}


async def test_the_pages_come_from_our_own_files(billing: Billing) -> None:
    page = await billing.api.get("/swagger")

    assert (page.status_code, "text/html" in page.headers["Content-Type"]) == (200, True)
    assert not re.search(r"(?:src|href|url)\s*[=:]\s*['\"](?:https?:)?//", page.text)
    files = re.findall(r"['\"](/[^'\"]+\.(?:js|css|png|json))['\"]", page.text)
    assert {file.rpartition(".")[2] for file in files} == {"js", "css", "png", "json"}
    for file in files:
        served = await billing.api.get(file)
        assert (served.status_code, len(served.content) > 500) == (200, True), file


async def test_the_address_itself_leads_to_the_pages(billing: Billing) -> None:
    page = await billing.api.get("/")

    assert (page.status_code, "text/html" in page.headers["Content-Type"]) == (200, True)
    assert re.findall(r'href="([^"]+)"', page.text)[0] == "/swagger"


async def test_the_address_itself_leads_to_the_temporal_ui() -> None:
    settings = {"billing_environment": "dev", "temporal_ui_url": 'https://temporal.example/?a="&b'}
    app = create_app(Settings.model_validate(settings))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://api"
    ) as http:
        page = await http.get("/")

    assert 'href="https://temporal.example/?a=&quot;&amp;b"' in page.text


async def test_the_styles_load_nothing_from_elsewhere(billing: Billing) -> None:
    styles = await billing.api.get("/static/swagger-ui/swagger-ui.css")

    assert not re.search(r"(?:@import|url\()\s*['\"]?https?:", styles.text)


async def test_the_document_is_served(billing: Billing, described: Schema) -> None:
    answer = await billing.api.get("/openapi.json")

    assert (answer.status_code, answer.json()) == (200, described)
    assert described["openapi"].startswith("3.1")


def test_every_operation_says_what_it_does(described: Schema) -> None:
    silent = [name for name, operation in operations(described) if not operation.get("description")]
    assert not silent


def test_operation_ids_stay(described: Schema) -> None:
    """Generated clients name their functions by them: one that is gone breaks whoever calls it."""
    ids = [operation["operationId"] for _, operation in operations(described)]
    assert len(ids) == len(set(ids))
    assert not PUBLISHED - set(ids)


def test_schemas_have_names_that_can_be_said(described: Schema) -> None:
    assert not [name for name in described["components"]["schemas"] if "__" in name]


async def test_others_rules_for_such_documents_are_kept(described: Schema, tmp_path: Path) -> None:
    """Spectral's recommended ones, without a warning."""
    folder = programs.from_npm("spectral", "spectral", "NOT TESTED by Spectral's rules")
    ruleset, document = tmp_path / ".spectral.yaml", tmp_path / "openapi.json"
    ruleset.write_text('extends: ["spectral:oas"]\n')
    document.write_text(json.dumps(described))
    spectral = folder / "node_modules" / ".bin" / "spectral"

    judged = await programs.run(
        spectral, "lint", "--ruleset", ruleset, "--fail-severity", "hint", document
    )

    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_every_field_of_a_request_is_explained(described: Schema) -> None:
    """By a description or an example, its own or that of its type."""
    unexplained = set()
    for name, operation in operations(described):
        content = operation.get("requestBody", {}).get("content", {})
        for media in content.values():
            for field in _unexplained(described, media["schema"]):
                unexplained.add(f"{name}: {field}")
    assert not unexplained


def test_every_keyed_call_shows_its_key(described: Schema) -> None:
    about_invoices = ("pay", "paid-outside", "write-off", "cancel", "approve", "reject")
    keyed = [f"invoices/{{invoice_id}}/{name}" for name in about_invoices]
    for path in ("orders", "payments", "refunds", "wallet/top-ups", *keyed):
        parameters = described["paths"][f"/api/v1/{path}"]["post"]["parameters"]
        required = {each["name"]: each["required"] for each in parameters}
        assert required.get("Idempotency-Key") is True, path


def test_amounts_are_integers_wherever_they_stand(described: Schema) -> None:
    names = re.compile(r"amount|price|available|held|quantity", re.IGNORECASE)
    for name, model in described["components"]["schemas"].items():
        for field, schema in model.get("properties", {}).items():
            if names.search(field):
                parts = list(_alternatives(schema))
                # A fixed coupon has an amount for each of several currencies.
                named = [part.get("patternProperties", {}).values() for part in parts]
                kinds = {each.get("type") for each in (*parts, *chain(*named))} - {"object"}
                assert kinds <= {"integer", "null"} | EXACT.get(name, set()), f"{name}.{field}"


def _alternatives(schema: Schema) -> Iterator[Schema]:
    for part in schema.get("anyOf", ()):
        yield from _alternatives(part)
    if "anyOf" not in schema:
        yield schema


def _unexplained(described: Schema, schema: Schema) -> Iterator[str]:
    for each in (schema, *schema.get("anyOf", ())):
        model = _resolved(described, each)
        if "items" in model:
            yield from _unexplained(described, model["items"])
        for name, field in model.get("properties", {}).items():
            if not any(_explains(_resolved(described, part)) for part in _parts(field)):
                yield f"{model.get('title')}.{name}"
            yield from _unexplained(described, field)


def _parts(field: Schema) -> list[Schema]:
    return [field, *field.get("anyOf", ()), *field.get("allOf", ())]


def _explains(schema: Schema) -> bool:
    return bool(schema.get("description") or schema.get("examples") or "example" in schema)


def _resolved(described: Schema, schema: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    found: Schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def test_every_operation_says_how_it_refuses(described: Schema) -> None:
    for name, operation in operations(described):
        assert "application/problem+json" in operation["responses"]["4XX"]["content"], name
        assert "422" not in operation["responses"], f"{name}: what FastAPI says, and we never send"
