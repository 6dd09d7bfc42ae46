"""An issuer of tokens as tests need it: discovery and keys over HTTP on loopback, and whatever
token one asks it to sign, also such as no issuer would."""

import asyncio
import json
import time
import warnings
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

AUDIENCE = "billing"
CLIENT = "shop"


class _Anything(jws.JWSRegistry):
    """Signs also what it should not."""

    max_header_length = 100_000

    def check_header(self, header: dict[str, Any]) -> None:
        pass


@dataclass
class LocalIssuer:
    """`fetched` says how often its keys were asked for; `open`: it answers."""

    url: str = ""
    keys: dict[str, Key] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    fetched: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    answers: dict[str, bytes] = field(default_factory=dict)
    """What it says instead of the truth, by path."""

    def add(self, name: str, key: Key, **more: Any) -> None:
        """Make a key and publish its public half."""
        self.keys[name] = key
        self.published.append({**key.as_dict(private=False), "kid": name, **more})

    def settings(self, **more: Any) -> dict[str, Any]:
        """Its entry in `OIDC_ISSUERS`."""
        return {"alias": "local", "issuer": self.url, "audience": AUDIENCE, **more}

    def claims(self, **more: Any) -> dict[str, Any]:
        """Those of a good token of a service; None takes one away."""
        now = int(time.time())
        usual = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": CLIENT,
            "client_id": CLIENT,
            "iat": now,
            "exp": now + 300,
            "jti": uuid4().hex,
            "roles": ["service"],
        }
        return {name: each for name, each in {**usual, **more}.items() if each is not None}

    def sign(
        self,
        claims: Mapping[str, Any] | bytes,
        header: Mapping[str, Any] | None = None,
        key: Key | None = None,
    ) -> str:
        """A token, signed by the key of its `kid` unless another one is given."""
        usual = {"alg": "ES256", "typ": "at+jwt", "kid": "ec"}
        every = {name: each for name, each in {**usual, **(header or {})}.items() if each}
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        registry = _Anything(algorithms=[every["alg"]])
        with_key = key or self.keys[every["kid"]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            return jws.serialize_compact(every, payload, with_key, registry=registry)

    def token(self, **claims: Any) -> str:
        """A good one but for these claims."""
        return self.sign(self.claims(**claims))

    def bearer(self, **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(**claims)}"}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await self.open.wait()
            body = self._document(head.split(b" ")[1].decode())
            status = b"200 OK" if body is not None else b"404 Not Found"
            size = len(body or b"")
            writer.write(
                b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, size)
            )
            writer.write(body or b"")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _document(self, path: str) -> bytes | None:
        if path == "/keys":
            self.fetched += 1
        if path in self.answers:
            return self.answers[path]
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        if path == "/keys":
            return json.dumps({"keys": self.published}).encode()
        return None


@asynccontextmanager
async def local_issuer() -> AsyncIterator[LocalIssuer]:
    """With a key of each kind that is good, and of each that is not."""
    issuer = LocalIssuer()
    issuer.open.set()
    issuer.add("ec", ECKey.generate_key("P-256"))
    issuer.add("rsa", RSAKey.generate_key(2048), alg="RS256", use="sig")
    issuer.add("ed", OKPKey.generate_key("Ed25519"))
    server = await asyncio.start_server(issuer.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    issuer.url = f"http://127.0.0.1:{port}"
    try:
        yield issuer
    finally:
        server.close()
        await server.wait_closed()


def part(value: object) -> str:
    """A part of a token, for those that are put together by hand."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()
