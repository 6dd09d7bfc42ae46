"""The keys of an issuer, kept fresh without ever being asked for too often.

Whoever sends a token chooses the name of its key, so an unknown name must neither start a fetch
each time nor keep others waiting for nothing: at most one fetch in `AGAIN`, and whoever needs one
that is under way waits for that one.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import httpx2
import structlog
from prometheus_client import Gauge

from domain.errors import Rejected
from domain.strict_json import lossless, parse
from runtime.issuer import Issuer, is_private

FRESH = 600.0
"""Seconds for which keys are taken as they are; refreshed in the background a little earlier. A
key that has vanished is believed for so long after that was seen, for tokens under way."""
STALE = 24 * 3600.0
"""Seconds after which keys that could not be refreshed are believed no more."""
AGAIN = 30.0
"""Seconds from one fetch to the next, however many unknown keys are named meanwhile."""
SOON = 5.0
"""The same while there is no key at all: nobody can be let in until then."""
DISCOVERED = 6 * 3600.0
"""Seconds for which the address of the keys is taken as it is."""
TIMEOUT = 5.0
MAX_BYTES = 64 * 1024
MAX_KEYS = 50

AGE = Gauge("billing_jwks_age_seconds", "Since an issuer last gave its keys.", ["issuer"])

Key = TypeVar("Key")
log = structlog.get_logger()


class IssuerUnreachable(Exception):
    """Nobody can say whether a token is good: its issuer's keys are not there."""


class _Unusable(Exception):
    """What an issuer answered; the text says what was wrong with it."""


class Keys(Generic[Key]):
    """Those of one issuer. `read` makes keys by name of a JSON Web Key Set."""

    def __init__(
        self,
        issuer: Issuer,
        http: httpx2.AsyncClient,
        read: Callable[[list[object]], Mapping[str, Key]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._http = http
        self._read = read
        self._clock = clock
        self._keys: Mapping[str, Key] = {}
        self._leaving: dict[str, tuple[Key, float]] = {}
        self._fetched = self._tried = self._located = float("-inf")
        self._address = issuer.jwks_uri or ""
        self._fetching: asyncio.Task[None] | None = None
        AGE.labels(issuer.alias).set_function(self._age)

    async def find(self, name: str) -> Key | None:
        """The key of that name, if the issuer has it; raises `IssuerUnreachable`."""
        key = self._known(name)
        if key is None or self._age() >= STALE:
            fetching = self._begin()
            if fetching is not None:
                # Not its own: whoever waits first may hang up.
                await asyncio.shield(fetching)
            if self._age() >= STALE:
                raise IssuerUnreachable(self._issuer.alias)
            return self._known(name)
        if self._age() > 0.8 * FRESH:
            self._begin()
        return key

    async def refresh(self) -> None:
        """Ask now, unless that was just done."""
        fetching = self._begin()
        if fetching is not None:
            await asyncio.shield(fetching)

    async def close(self) -> None:
        """End what is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _known(self, name: str) -> Key | None:
        if name in self._keys:
            return self._keys[name]
        key, until = self._leaving.get(name, (None, 0.0))
        return key if self._clock() < until else None

    def _age(self) -> float:
        return self._clock() - self._fetched

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, else a new one; None if it is too early for that."""
        # First this: whoever comes while one is under way needs it, however late it is.
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        pause = AGAIN if self._age() < STALE else SOON
        if self._clock() - self._tried < pause:
            return None
        self._tried = self._clock()
        self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        """Replace the keys; what goes wrong changes nothing, and is logged."""
        try:
            async with asyncio.timeout(TIMEOUT):
                found = self._read(_keys_of(await self._document()))
            if not found:
                raise _Unusable("no key that could sign a token is among its keys")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, Rejected, _Unusable) as error:
            log.warning("an issuer gave no keys", issuer=self._issuer.alias, error=error)
            return
        now = self._clock()
        kept = {name: (key, now + FRESH) for name, key in self._keys.items()}
        self._leaving = {
            name: each
            for name, each in {**kept, **self._leaving}.items()
            if name not in found and now < each[1]
        }
        self._keys, self._fetched = found, now

    async def _document(self) -> bytes:
        if self._issuer.jwks_file is not None:
            return await asyncio.to_thread(Path(self._issuer.jwks_file).read_bytes)
        if self._issuer.jwks_uri is None and self._clock() - self._located >= DISCOVERED:
            self._address = await self._discovered()
            self._located = self._clock()
        return await self._get(self._address)

    async def _discovered(self) -> str:
        """Where the keys are, as the issuer's own document says."""
        problems = []
        for address in _discovery(self._issuer.issuer):
            try:
                document = parse(await self._get(address), lossless)
                return _address_in(document, self._issuer.issuer)
            except (Rejected, _Unusable) as error:
                problems.append(f"{address}: {error}")
        raise _Unusable("; ".join(problems))

    async def _get(self, address: str) -> bytes:
        async with self._http.stream("GET", address, follow_redirects=False) as answer:
            if answer.status_code != 200:
                raise _Unusable(f"{address} answered {answer.status_code}")
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise _Unusable(f"{address} sent more than {MAX_BYTES:,} bytes")
            return body


def _discovery(issuer: str) -> tuple[str, str]:
    """Where OpenID Connect and RFC 8414 put an issuer's document."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    return (
        f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{path}",
    )


def _address_in(document: Any, issuer: str) -> str:
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise _Unusable("its document is that of another issuer")
    address = document.get("jwks_uri")
    if not isinstance(address, str) or not is_private(address):
        raise _Unusable("its document names no jwks_uri with https")
    return address


def _keys_of(body: bytes) -> list[object]:
    document = parse(body, lossless)
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_KEYS:
        raise _Unusable(f"a key set has 1 to {MAX_KEYS} keys")
    return keys
