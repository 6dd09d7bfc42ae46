"""Keys of issuers: fresh, without being asked for too often, and there while the issuer is not."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from api.issuers import AGAIN, FRESH, MAX_BYTES, MAX_KEYS, SOON, STALE, IssuerUnreachable, Keys
from runtime.issuer import Issuer
from tests.support.conditions import eventually
from tests.support.issuer import LocalIssuer, local_issuer
from tests.support.metrics import sample


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def named(found: list[object]) -> Mapping[str, str]:
    """Here a key is its own name: what is in it is the concern of `api.tokens`."""
    return {each["kid"]: each["kid"] for each in found if isinstance(each, dict)}


@asynccontextmanager
async def keys_of(issuer: LocalIssuer, clock: Clock, **settings: Any) -> AsyncIterator[Keys[str]]:
    entry = Issuer.model_validate(issuer.settings(**settings))
    async with httpx2.AsyncClient() as http:
        keys = Keys(entry, http, named, clock)
        try:
            yield keys
        finally:
            await keys.close()


@pytest.fixture
async def issuer() -> AsyncIterator[LocalIssuer]:
    async with local_issuer() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_ten_thousand_unknown_names_are_one_fetch(issuer: LocalIssuer, clock: Clock) -> None:
    async with keys_of(issuer, clock) as keys:
        assert await keys.find("ec") == "ec"
        clock.now += AGAIN

        found = await asyncio.gather(*(keys.find(uuid4().hex) for _ in range(10_000)))

        assert set(found) == {None}
        assert issuer.fetched == 2
        assert await keys.find("ec") == "ec", "and nobody else has lost a key by that"


async def test_who_waits_for_a_fetch_has_its_keys(issuer: LocalIssuer, clock: Clock) -> None:
    """Not only the first: a throttle that is asked before the fetch that is under way would send
    all others on with nothing."""
    issuer.open.clear()
    async with keys_of(issuer, clock) as keys:
        waiting = [asyncio.create_task(keys.find("ec")) for _ in range(100)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)

        issuer.open.set()

        assert set(await asyncio.gather(*waiting)) == {"ec"}
        assert issuer.fetched == 1


async def test_who_hangs_up_takes_the_fetch_from_nobody(issuer: LocalIssuer, clock: Clock) -> None:
    issuer.open.clear()
    async with keys_of(issuer, clock) as keys:
        first = asyncio.create_task(keys.find("ec"))
        others = [asyncio.create_task(keys.find("ec")) for _ in range(10)]
        await asyncio.sleep(0)

        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        issuer.open.set()

        assert set(await asyncio.gather(*others)) == {"ec"}
        assert issuer.fetched == 1


async def test_a_new_key_is_found_when_it_is_first_named(issuer: LocalIssuer, clock: Clock) -> None:
    async with keys_of(issuer, clock) as keys:
        assert await keys.find("new") is None
        issuer.published.append({"kid": "new"})
        assert await keys.find("new") is None, "too early to ask again"
        clock.now += AGAIN
        assert await keys.find("new") == "new"


async def test_keys_are_refreshed_before_they_are_old(issuer: LocalIssuer, clock: Clock) -> None:
    """In the background: nobody waits."""
    async with keys_of(issuer, clock) as keys:
        await keys.find("ec")
        clock.now += 0.9 * FRESH
        issuer.open.clear()
        assert await keys.find("ec") == "ec"

        issuer.open.set()

        async def refreshed() -> bool:
            return issuer.fetched == 2

        await eventually(refreshed)


async def test_a_key_that_vanished_is_believed_a_little_longer(
    issuer: LocalIssuer, clock: Clock
) -> None:
    async with keys_of(issuer, clock) as keys:
        await keys.find("ec")
        issuer.published = [each for each in issuer.published if each["kid"] != "ec"]
        clock.now += AGAIN
        await keys.refresh()
        assert issuer.fetched == 2

        assert await keys.find("ec") == "ec"
        clock.now += FRESH - 1
        await keys.refresh()
        assert await keys.find("ec") == "ec"
        clock.now += 1
        assert await keys.find("ec") is None
        assert await keys.find("rsa") == "rsa"


async def test_an_outage_of_the_issuer_is_not_ours(issuer: LocalIssuer, clock: Clock) -> None:
    async with keys_of(issuer, clock) as keys:
        await keys.find("ec")
        issuer.answers["/keys"] = b"maintenance"

        for _ in range(23):
            clock.now += 3600
            assert await keys.find("ec") == "ec"
            await keys.refresh()
        clock.now += STALE
        with pytest.raises(IssuerUnreachable):
            await keys.find("ec")

        del issuer.answers["/keys"]
        clock.now += SOON
        assert await keys.find("ec") == "ec"


ODD: dict[str, bytes] = {
    "no JSON": b"<html>",
    "nothing": b"",
    "a list": b"[]",
    "no keys": b"{}",
    "an empty set": b'{"keys": []}',
    "keys that are no list": b'{"keys": {}}',
    "too many keys": json.dumps({"keys": [{"kid": str(n)} for n in range(MAX_KEYS + 1)]}).encode(),
    "too many bytes": json.dumps({"keys": [{"kid": "ec"}], "x": "y" * MAX_BYTES}).encode(),
    "nested too deep": b'{"keys": ' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
async def test_an_odd_key_set_is_none(issuer: LocalIssuer, clock: Clock, body: bytes) -> None:
    issuer.answers["/keys"] = body
    async with keys_of(issuer, clock) as keys:
        with pytest.raises(IssuerUnreachable):
            await keys.find("ec")


DISCOVERY = "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example", "jwks_uri": "{url}/keys"},
        {"issuer": "{url}/", "jwks_uri": "{url}/keys"},
        {"issuer": "{url}", "jwks_uri": "http://evil.example/keys"},
        {"issuer": "{url}", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "{url}"},
        ["{url}"],
    ],
    ids=str,
)
async def test_a_document_that_is_not_the_issuer_s_own_is_not_followed(
    issuer: LocalIssuer, clock: Clock, document: object
) -> None:
    issuer.answers[DISCOVERY] = json.dumps(document).replace("{url}", issuer.url).encode()
    async with keys_of(issuer, clock) as keys:
        with pytest.raises(IssuerUnreachable):
            await keys.find("ec")
        assert issuer.fetched == 0


async def test_an_issuer_may_publish_where_rfc_8414_says(issuer: LocalIssuer, clock: Clock) -> None:
    document = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
    issuer.answers[DISCOVERY] = b"{}"
    issuer.answers["/.well-known/oauth-authorization-server"] = json.dumps(document).encode()
    async with keys_of(issuer, clock) as keys:
        assert await keys.find("ec") == "ec"


async def test_with_the_address_of_the_keys_nothing_is_discovered(
    issuer: LocalIssuer, clock: Clock
) -> None:
    issuer.answers[DISCOVERY] = b"{}"
    async with keys_of(issuer, clock, jwks_uri=f"{issuer.url}/keys") as keys:
        assert await keys.find("ec") == "ec"


async def test_with_a_file_of_keys_the_issuer_is_not_asked(
    issuer: LocalIssuer, clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": issuer.published}))
    issuer.open.clear()
    async with keys_of(issuer, clock, jwks_file=str(file)) as keys:
        assert await keys.find("ec") == "ec"


async def test_nobody_listening_is_an_outage(clock: Clock) -> None:
    async with local_issuer() as gone:
        pass
    async with keys_of(gone, clock) as keys:
        with pytest.raises(IssuerUnreachable):
            await keys.find("ec")


async def test_how_old_keys_are_is_shown(issuer: LocalIssuer, clock: Clock) -> None:
    async with keys_of(issuer, clock) as keys:
        name = issuer.settings()["alias"]
        assert sample("billing_jwks_age_seconds", issuer=name) == float("inf")
        await keys.refresh()
        clock.now += 90
        assert sample("billing_jwks_age_seconds", issuer=name) == 90
