"""What browsers are told."""

import re
from base64 import b64encode
from hashlib import sha256

import httpx2
import pytest

from api.app import create_app
from runtime.settings import Settings
from tests.conftest import served

DEV = {"billing_environment": "dev"}


@pytest.mark.parametrize(
    "path", ["/", "/health/live", "/api/v1/orders/x", "/nowhere", "/static/nothing"]
)
async def test_every_answer_says_how_it_may_be_used(path: str) -> None:
    async with served(create_app(Settings.model_validate(DEV))) as http:
        headers = (await http.get(path)).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert ("Cache-Control" in headers) == (not path.startswith("/static/"))


async def test_a_refusal_at_the_door_says_it_too() -> None:
    issuer = {"alias": "a", "issuer": "https://127.0.0.1:1", "audience": "billing"}
    demanding = Settings.model_validate({**DEV, "oidc_issuers": [issuer]})
    async with served(create_app(demanding)) as http:
        answer = await http.get("/api/v1/wallet")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (401, "no-store")


async def test_the_page_s_own_script_may_run_and_no_other() -> None:
    async with served(create_app(Settings.model_validate(DEV))) as http:
        page = await http.get("/swagger")
    [script] = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = page.headers["Content-Security-Policy"]
    assert f"script-src 'self' 'sha256-{digest}';" in policy


async def preflight(http: httpx2.AsyncClient, origin: str) -> httpx2.Response:
    asked = {"Access-Control-Request-Method": "POST", "Origin": origin}
    return await http.options("/api/v1/orders", headers=asked)


async def test_pages_of_others_may_read_nothing_unless_they_are_listed() -> None:
    ours, theirs = "https://console.example", "https://evil.example"
    async with served(create_app(Settings.model_validate(DEV))) as http:
        for origin in (ours, theirs):
            answer = await http.get("/health/live", headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert (await preflight(http, origin)).status_code == 405

    listed = Settings.model_validate({**DEV, "cors_origins": [ours]})
    async with served(create_app(listed)) as http:
        assert (await preflight(http, ours)).headers["Access-Control-Allow-Origin"] == ours
        assert "Access-Control-Allow-Origin" not in (await preflight(http, theirs)).headers
