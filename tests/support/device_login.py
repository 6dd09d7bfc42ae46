"""`billing login` in the device flow, and the person who agrees in a browser."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx2

from dev import process, services
from dev.stack import Stack


@dataclass(frozen=True)
class Told:
    """What the two commands said, and how they ended."""

    login: str
    logout: str
    statuses: tuple[int | None, int | None]


async def logged_in_and_out(
    stack: Stack,
    home: Path,
    entry: Mapping[str, Any],
    words: tuple[str, ...],
    person: dict[str, str],
) -> Told:
    """At an API that believes this issuer; `words` are what login is told besides its address,
    `person` is what they type, by the name of the field."""
    port = process.free_port()
    told = services.environment(stack, oidc_issuers=json.dumps([entry]), log_level="WARNING")
    api = services.start_api(replace(stack, directory=stack.directory / "others"), port, told)
    try:
        await asyncio.to_thread(process.wait_until_ready, [api])
        environment = {
            **process.python_environment(),
            "BILLING_API_URL": f"http://127.0.0.1:{port}",
            "XDG_STATE_HOME": str(home),
        }
        async with _billing(environment, "login", "--issuer", entry["issuer"], *words) as login:
            assert login.stdout is not None
            where = (await login.stdout.readline()).decode().removeprefix("Open ").strip()
            await _agree(where, person)
            said, _ = await login.communicate()
        async with _billing(environment, "logout") as logout:
            left, _ = await logout.communicate()
    finally:
        await asyncio.to_thread(process.stop, [api])
    return Told(said.decode(), left.decode(), (login.returncode, logout.returncode))


@asynccontextmanager
async def _billing(
    environment: Mapping[str, str], *words: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, for not longer than the block: nobody may agree to what it waits for."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", *words),
        stdout=asyncio.subprocess.PIPE,
        cwd=environment["XDG_STATE_HOME"],
        env=environment,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


class _Form(HTMLParser):
    """The first form of a page: where it goes, and what it sends as it stands when its first button
    is pressed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._pressed = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = named.get("action") or ""
        if tag == "input" and named.get("name") and not self._is_another_button(named):
            self.fields[str(named["name"])] = named.get("value") or ""

    def _is_another_button(self, named: Mapping[str, str | None]) -> bool:
        if named.get("type") != "submit":
            return False
        before, self._pressed = self._pressed, True
        return before


async def _agree(url: str, person: Mapping[str, str]) -> None:
    """As a person does in a browser: fill in whatever form comes, until none comes any more."""
    # Browsers take loopback for a safe place, whose cookies they send back without TLS.
    safe = CookieJar(DefaultCookiePolicy(secure_protocols=("http", "https")))
    async with httpx2.AsyncClient(follow_redirects=True, cookies=safe) as browser:
        page = await browser.get(url)
        while (form := _Form(page.text)).action is not None:
            filled = {name: person.get(name, value) for name, value in form.fields.items()}
            page = await browser.post(page.url.join(form.action), data=filled)
    assert page.status_code == 200, page.text
