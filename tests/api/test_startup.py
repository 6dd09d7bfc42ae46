"""Where the API refuses to start, it says why in one sentence and leaves with exit code 1."""

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from pydantic import SecretStr

from api.app import create_app
from dev import process, services
from dev.stack import Stack
from gateway.client import PaymentGateway
from runtime import temporal
from runtime.settings import ConfigurationError, Settings
from runtime.workers import payments_worker, running
from tests.api.documents import refused
from tests.conftest import SECRET
from tests.support.billing import Billing
from tests.support.conditions import PATIENCE_SECONDS, eventually, patience
from tests.support.issuer import LocalIssuer, local_issuer
from tests.support.namespaces import a_namespace


async def start(directory: Path, **settings: str) -> tuple[int | None, str, str]:
    """Exit code, output and errors of `billing api` with these settings and no others."""
    ours = {name.upper() for name in Settings.model_fields}
    inherited = process.python_environment()
    environment = {name: value for name, value in inherited.items() if name not in ours}
    # An endpoints file of a running `billing dev` says nothing here.
    environment["BILLING_ENDPOINTS"] = str(directory / "none.env")
    api = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "api"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, **settings},
    )
    try:
        async with patience():
            output, errors = await api.communicate()
    finally:
        if api.returncode is None:
            api.kill()
            await api.wait()
    return api.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"BILLING_ENVIRONMENT": "dev", "API_HOST": "0.0.0.0"}, "unset API_HOST"),
        ({"BILLING_ENVIRONMENT": "dev", "API_PORT": "99999"}, "API_PORT"),
        ({"OIDC_ISSUERS": "[{"}, "not valid JSON"),
        ({"OIDC_ISSUERS": '[{"alias": "a", "issuer": "https://a.example"}]'}, "OIDC_ISSUERS"),
        ({"CURSOR_SECRET_FILE": "/nowhere"}, "CURSOR_SECRET_FILE names /nowhere"),
        ({"CURSOR_SECRET_FILE": "/dev/null"}, "is empty"),
        ({"CURSOR_SECRET_FILE": "/dev/zero"}, "above 64 KiB"),
        ({"CURSOR_SECRET_FILE": "a", "CURSOR_SECRET": "b"}, "not both"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
async def test_it_refuses_to_start_with_one_sentence(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    code, output, errors = await start(tmp_path, **settings)

    assert (code, output) == (1, "")
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("billing: ")
    assert words in errors
    assert "Traceback" not in errors


async def test_without_settings_it_says_all_that_is_missing_at_once(tmp_path: Path) -> None:
    code, output, errors = await start(tmp_path)

    assert (code, output) == (1, "")
    assert errors.startswith("billing: ")
    named = ["PAYLOAD_KEYS", "OIDC_ISSUERS", "GATEWAY_WEBHOOK_SECRET", "CURSOR_SECRET"]
    named.append("API_KEY_SECRETS")
    for name, line in zip(named, errors.splitlines(), strict=True):
        assert name in line


@pytest.mark.parametrize("host", ["::", "", "localhost.example", "192.168.0.1"])
def test_in_dev_no_application_is_made_where_a_stranger_could_reach_it(host: str) -> None:
    with pytest.raises(ConfigurationError):
        create_app(Settings.model_validate({"billing_environment": "dev", "api_host": host}))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_dev_may_start(host: str) -> None:
    create_app(Settings.model_validate({"billing_environment": "dev", "api_host": host}))


async def test_in_production_a_service_pays_an_order_with_its_token(
    tmp_path: Path,
    billing: Billing,
    stack: Stack,
    settings: Settings,
    gateways: Mapping[str, PaymentGateway],
) -> None:
    """The API as a company runs it: a process with secrets in files, on all addresses, with an
    issuer that it discovers, and keys that a worker shares."""
    keys, namespace = f"2026-11:{b64encode(bytes(32)).decode()}", a_namespace("production")
    sealed = {"temporal_namespace": namespace, "payload_keys": SecretStr(keys)}
    port = process.free_port()
    (tmp_path / "cursor").write_text("a-secret-of-our-own\n")
    (tmp_path / "keys").write_text("2026-11:a-secret-of-our-own\n")
    async with local_issuer() as issuer:
        environment = {
            **services.environment(stack),
            "BILLING_ENVIRONMENT": "production",
            "API_HOST": "0.0.0.0",
            "OIDC_ISSUERS": json.dumps([issuer.settings(roles_map={"billing": "service"})]),
            "GATEWAY_WEBHOOK_SECRET": SECRET,
            "CURSOR_SECRET_FILE": str(tmp_path / "cursor"),
            "API_KEY_SECRETS_FILE": str(tmp_path / "keys"),
            "PAYLOAD_KEYS": keys,
            "TEMPORAL_NAMESPACE": namespace,
        }
        api = process.start(
            "API",
            [sys.executable, "-m", "cli.main", "api"],
            log=tmp_path / "api.log",
            ready=lambda: process.http_get(port, "/health/live")[0] == 200,
            environment={**environment, "API_PORT": str(port)},
        )
        try:
            await asyncio.to_thread(process.wait_until_ready, [api])
            client = await temporal.connect_when_ready(settings.model_copy(update=sealed))
            async with running(payments_worker(client, billing.database, gateways)):
                await _pays(billing, issuer, f"http://127.0.0.1:{port}")
        finally:
            process.stop([api])


async def _pays(billing: Billing, issuer: LocalIssuer, url: str) -> None:
    headers = issuer.bearer(roles=["billing"])
    async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as http:
        stranger = await http.get("/api/v1/wallet", headers={"X-Customer-Id": billing.customer_id})
        refused(stranger, 401, "unauthenticated")
        assert "Server" not in stranger.headers, "nobody needs to know what we are made of"

        item = {"sku": "SKU-1", "quantity": 2, "unitPrice": 1000}
        made = await http.post(
            "/api/v1/orders",
            json={"currency": "KRW", "items": [item], "customerId": billing.customer_id},
            headers={**headers, "Idempotency-Key": uuid4().hex},
        )
        assert made.status_code == 201, made.text
        assert made.headers["RateLimit-Policy"] == '"caller";q=180000;w=60'
        key = {"Idempotency-Key": uuid4().hex}
        body = {"orderId": made.json()["id"], "method": "CARD"}

        async def paid() -> dict[str, Any]:
            answer = await http.post("/api/v1/payments", json=body, headers={**headers, **key})
            return dict(answer.json()) if answer.status_code == 201 else {}

        first = await eventually(paid)
        again = issuer.bearer(roles=["billing"])
        repeated = await http.post("/api/v1/payments", json=body, headers={**again, **key})

    assert first["status"] == "COMPLETED"
    assert repeated.headers["Idempotency-Replayed"] == "true", "another token, the same caller"
    assert repeated.json() == first
