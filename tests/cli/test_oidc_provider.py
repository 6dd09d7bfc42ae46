"""Logging in with a provider that nobody here wrote: npm's oidc-provider, in the device flow."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import httpx2

from dev import process, services
from dev.stack import Stack
from tests.api.test_oidc_provider import provider

RESOURCE = "urn:billing"


async def test_a_certified_provider_s_person_logs_in_and_out(
    stack: Stack, logs: Path, tmp_path: Path
) -> None:
    with provider(logs) as url:
        entry = {"alias": "others", "issuer": url, "audience": "billing"}
        port = process.free_port()
        told = services.environment(stack, oidc_issuers=json.dumps([entry]), log_level="WARNING")
        api = services.start_api(replace(stack, directory=stack.directory / "others"), port, told)
        try:
            await asyncio.to_thread(process.wait_until_ready, [api])
            environment = {
                **process.python_environment(),
                "BILLING_API_URL": f"http://127.0.0.1:{port}",
                "XDG_STATE_HOME": str(tmp_path),
            }
            words = ("--issuer", url, "--resource", RESOURCE, "--scope", "openid offline_access")
            login = await _billing(environment, "login", *words)
            assert login.stdout is not None
            where = (await login.stdout.readline()).decode().removeprefix("Open ").strip()
            await _agree(where, {"login": "alice", "password": "whatever"})
            said, _ = await login.communicate()
            out = await _billing(environment, "logout")
            left, _ = await out.communicate()
        finally:
            await asyncio.to_thread(process.stop, [api])

    assert b"You are others/alice: finance." in said
    assert (login.returncode, left, out.returncode) == (0, b"Logged out.\n", 0)


async def _billing(environment: Mapping[str, str], *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", *words),
        stdout=asyncio.subprocess.PIPE,
        cwd=environment["XDG_STATE_HOME"],
        env=environment,
    )


class _Form(HTMLParser):
    """The first form of a page: where it goes, and what it sends as it stands."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = named.get("action") or ""
        if tag == "input" and named.get("name"):
            self.fields[str(named["name"])] = named.get("value") or ""


async def _agree(url: str, person: Mapping[str, str]) -> None:
    """As a person does in a browser: fill in whatever form comes, until none comes any more."""
    async with httpx2.AsyncClient(follow_redirects=True) as browser:
        page = await browser.get(url)
        while (form := _Form(page.text)).action is not None:
            filled = {name: person.get(name, value) for name, value in form.fields.items()}
            page = await browser.post(page.url.join(form.action), data=filled)
    assert page.status_code == 200, page.text
