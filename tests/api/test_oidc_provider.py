"""Tokens of a provider that nobody here wrote: npm's oidc-provider, which keeps to RFC 9068."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from api.app import create_app
from dev import process
from runtime.settings import Settings
from tests.api.documents import refused
from tests.conftest import served
from tests.support import programs


@contextmanager
def provider(logs: Path) -> Iterator[str]:
    """Its address."""
    folder = programs.from_npm("oidc", "oidc-provider", "NOT TESTED against a provider of others")
    port = process.free_port()
    node = process.start(
        "Provider",
        ["node", folder / "provider.mjs", str(port)],
        log=logs / "provider.log",
        ready=lambda: process.http_get(port, "/.well-known/openid-configuration")[0] == 200,
    )
    try:
        process.wait_until_ready([node])
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop([node])


async def test_a_certified_provider_s_token_is_believed_as_it_is(logs: Path) -> None:
    """Discovery, keys and claims are its own; only its address and audience are told."""
    with provider(logs) as url:
        token = await client_credentials(url)
        entry = {
            "alias": "others",
            "issuer": url,
            "audience": "billing",
            "client_roles": {"shop": ["service"]},
            "scope_map": {"orders:write": "billing.payments"},
        }
        dev = {"billing_environment": "dev"}
        settings = Settings.model_validate({**dev, "oidc_issuers": [entry]})
        async with served(create_app(settings)) as http:
            headers = {"Authorization": f"Bearer {token}"}
            wanted = {"action": "orders.create"}
            answer = await http.post("/auth/check", json=wanted, headers=headers)
            cut = {"Authorization": f"Bearer {token[:-8]}"}
            forged = await http.post("/auth/check", json=wanted, headers=cut)
            unread = await http.post("/auth/check", json={"action": "orders.read"}, headers=headers)
        another = {**entry, "audience": "shipping"}
        settings = Settings.model_validate({**dev, "oidc_issuers": [another]})
        async with served(create_app(settings)) as http:
            elsewhere = await http.post("/auth/check", json=wanted, headers=headers)

    assert answer.status_code == 200, answer.text
    verdict = answer.json()
    assert (verdict["caller"], verdict["allowed"]) == ("others/client/shop", True)
    assert unread.json()["allowed"] is False, "its scope is for writing only"
    refused(forged, 401, "unauthenticated")
    refused(elsewhere, 401, "unauthenticated")


async def client_credentials(url: str) -> str:
    """A token, as a service gets it."""
    document = {"grant_type": "client_credentials", "scope": "orders:write"}
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"{url}/token", data=document, auth=("shop", "only for tests"))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])
