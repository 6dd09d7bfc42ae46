"""Whose request it is: what is believed of a token, and the many that are not."""

import asyncio
import hashlib
import hmac
import json
import time
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, RSAKey
from pydantic import ValidationError

from api.app import create_app
from api.issuers import AGAIN
from api.tokens import signing_keys
from runtime.settings import Settings
from tests.api.documents import refused
from tests.conftest import served
from tests.support.issuer import AUDIENCE, LocalIssuer, local_issuer, part

NOW = int(time.time())


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[LocalIssuer]:
    async with local_issuer() as running:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            short = RSAKey.generate_key(1024)
        running.add("short", short)
        running.add("enc", RSAKey.generate_key(2048), use="enc", alg="RSA-OAEP")
        running.add("wrapping", ECKey.generate_key("P-256"), key_ops=["deriveKey"])
        running.add("p521", ECKey.generate_key("P-521"))
        running.add("secp256k1", ECKey.generate_key("secp256k1"))
        running.keys["stranger"] = ECKey.generate_key("P-256")
        leaked = ECKey.generate_key("P-256")
        running.keys["leaked"] = leaked
        running.published.append({**leaked.as_dict(private=True), "kid": "leaked"})
        shared = OctKey.generate_key(256)
        running.keys["shared"] = shared
        running.published.append({**shared.as_dict(private=True), "kid": "shared"})
        yield running


@asynccontextmanager
async def believing(*issuers: dict[str, Any]) -> AsyncIterator[httpx2.AsyncClient]:
    """An API that believes these issuers. What is asked here needs no other server."""
    settings = Settings.model_validate({"billing_environment": "dev", "oidc_issuers": issuers})
    async with served(create_app(settings)) as http:
        yield http


@pytest.fixture(scope="module")
async def api(issuer: LocalIssuer) -> AsyncIterator[httpx2.AsyncClient]:
    async with believing(issuer.settings()) as http:
        yield http


async def check(http: httpx2.AsyncClient, token: str, **asked: Any) -> httpx2.Response:
    question = {"action": "orders.create", **asked}
    return await http.post(
        "/auth/check", json=question, headers={"Authorization": f"Bearer {token}"}
    )


async def who(http: httpx2.AsyncClient, token: str) -> str:
    answer = await check(http, token)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["caller"])


def hmac_signed(issuer: LocalIssuer, kid: str, secret: bytes) -> str:
    """Signed with what everybody can see: the public key, taken for a shared secret."""
    head = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': kid})}.{part(issuer.claims())}"
    return f"{head}.{part(hmac.new(secret, head.encode(), hashlib.sha256).digest())}"


def pem(issuer: LocalIssuer, kid: str) -> bytes:
    key = issuer.keys[kid]
    assert isinstance(key, ECKey | RSAKey)
    return key.as_pem(private=False)


def by_hand(header: object, claims: object, signature: str = "AAAA") -> str:
    return f"{part(header)}.{part(claims)}.{signature}"


def tampered(issuer: LocalIssuer) -> str:
    head, _, signature = issuer.token().split(".")
    return f"{head}.{part(issuer.claims(roles=['admin']))}.{signature}"


def twice(issuer: LocalIssuer) -> bytes:
    """Two readers would see two issuers."""
    return json.dumps(issuer.claims()).replace("{", '{"sub": "other", ', 1).encode()


Make = Callable[[LocalIssuer], str]
GOOD = {"alg": "ES256", "typ": "at+jwt", "kid": "ec"}
FORGED: dict[str, tuple[str, Make]] = {
    # What is signed by nobody, or by somebody else.
    "no signature at all": (
        "it is not a signed JSON Web Token",
        lambda i: by_hand({**GOOD, "alg": "none"}, i.claims(), ""),
    ),
    "alg none with a signature": (
        "its algorithm is not accepted",
        lambda i: by_hand({**GOOD, "alg": "none"}, i.claims()),
    ),
    "alg NONE": (
        "its algorithm is not accepted",
        lambda i: by_hand({**GOOD, "alg": "NONE"}, i.claims()),
    ),
    "no alg": (
        "its algorithm is not accepted",
        lambda i: by_hand({"typ": "at+jwt", "kid": "ec"}, i.claims()),
    ),
    "alg a number": (
        "its algorithm is not accepted",
        lambda i: by_hand({**GOOD, "alg": 256}, i.claims()),
    ),
    "alg a list": (
        "its algorithm is not accepted",
        lambda i: by_hand({**GOOD, "alg": ["ES256"]}, i.claims()),
    ),
    "HS256 with the public EC key": (
        "its algorithm is not accepted",
        lambda i: hmac_signed(i, "ec", pem(i, "ec")),
    ),
    "HS256 with the public RSA key": (
        "its algorithm is not accepted",
        lambda i: hmac_signed(i, "rsa", pem(i, "rsa")),
    ),
    "HS256 with the key's JSON": (
        "its algorithm is not accepted",
        lambda i: hmac_signed(i, "ec", json.dumps(i.keys["ec"].as_dict(False)).encode()),
    ),
    "HS256 with a shared key of the set": (
        "its algorithm is not accepted",
        lambda i: i.sign(i.claims(), {"alg": "HS256", "kid": "shared"}),
    ),
    "claims changed after signing": ("its signature does not verify", tampered),
    "signature of another token": (
        "its signature does not verify",
        lambda i: f"{i.token().rpartition('.')[0]}.{i.token(sub='other').rpartition('.')[2]}",
    ),
    "signature cut": ("its signature does not verify", lambda i: i.token()[:-6]),
    "signature not base64": ("its signature does not verify", lambda i: i.token()[:-4] + "!!!!"),
    "signature of zeros": (
        "its signature does not verify",
        lambda i: f"{i.token().rpartition('.')[0]}.{part(bytes(64))}",
    ),
    "signature in DER": (
        "its signature does not verify",
        lambda i: f"{i.token().rpartition('.')[0]}.{part(b'0' * 70)}",
    ),
    "a stranger's key under a known name": (
        "its signature does not verify",
        lambda i: i.sign(i.claims(), key=i.keys["stranger"]),
    ),
    "a stranger's key under its own name": (
        "its issuer has no key of that name",
        lambda i: i.sign(i.claims(), {"kid": "stranger"}),
    ),
    # Keys that a token brings along, and keys that are no good.
    "jwk in the header": (
        "its issuer has no key of that name",
        lambda i: i.sign(
            i.claims(),
            {"kid": "stranger", "jwk": i.keys["stranger"].as_dict(False)},
        ),
    ),
    "jwk in the header under a known name": (
        "its signature does not verify",
        lambda i: i.sign(
            i.claims(), {"jwk": i.keys["stranger"].as_dict(False)}, i.keys["stranger"]
        ),
    ),
    "jku in the header": (
        "its issuer has no key of that name",
        lambda i: i.sign(i.claims(), {"kid": "stranger", "jku": "https://evil.example/keys"}),
    ),
    "x5u in the header": (
        "its issuer has no key of that name",
        lambda i: i.sign(i.claims(), {"kid": "stranger", "x5u": "https://evil.example/cert"}),
    ),
    "x5c in the header": (
        "its issuer has no key of that name",
        lambda i: i.sign(i.claims(), {"kid": "stranger", "x5c": ["MIIB"]}),
    ),
    "no kid": ("it has no kid", lambda i: i.sign(i.claims(), {"kid": None}, i.keys["ec"])),
    "empty kid": ("it has no kid", lambda i: by_hand({**GOOD, "kid": ""}, i.claims())),
    "kid a number": ("it has no kid", lambda i: by_hand({**GOOD, "kid": 7}, i.claims())),
    "kid with a path": (
        "its issuer has no key of that name",
        lambda i: i.sign(i.claims(), {"kid": "../../dev/null"}, i.keys["ec"]),
    ),
    "kid with SQL": (
        "its issuer has no key of that name",
        lambda i: i.sign(i.claims(), {"kid": "x' OR '1'='1"}, i.keys["ec"]),
    ),
    "kid of another key": (
        "its signature does not verify",
        lambda i: i.sign(i.claims(), {"kid": "ed"}, i.keys["ec"]),
    ),
    "RSA with 1,024 bits": (
        "its issuer has no key of that name",
        lambda i: i.sign(i.claims(), {"alg": "RS256", "kid": "short"}),
    ),
    "the encryption key of the set": (
        "its issuer has no key of that name",
        lambda i: i.sign(i.claims(), {"alg": "RS256", "kid": "enc"}),
    ),
    "a key that is not for verifying": (
        "its issuer has no key of that name",
        lambda i: i.sign(i.claims(), {"kid": "wrapping"}),
    ),
    "a private key that was published": (
        "its issuer has no key of that name",
        lambda i: i.sign(i.claims(), {"kid": "leaked"}),
    ),
    "a curve that is not accepted": (
        "its algorithm is not accepted",
        lambda i: i.sign(i.claims(), {"alg": "ES512", "kid": "p521"}),
    ),
    "a curve of coins": (
        "its algorithm is not accepted",
        lambda i: i.sign(i.claims(), {"alg": "ES256K", "kid": "secp256k1"}),
    ),
    "an algorithm that is not turned on": (
        "its algorithm is not accepted",
        lambda i: i.sign(i.claims(), {"alg": "Ed25519", "kid": "ed"}),
    ),
    "PS256 with a key for RS256": (
        "its key is for another algorithm",
        lambda i: i.sign(i.claims(), {"alg": "PS256", "kid": "rsa"}),
    ),
    "RS512": (
        "its algorithm is not accepted",
        lambda i: i.sign(i.claims(), {"alg": "RS512", "kid": "rsa"}),
    ),
    "RS256 named for an EC key": (
        "its signature does not verify",
        lambda i: by_hand({**GOOD, "alg": "RS256"}, i.claims()),
    ),
    # Headers that change the meaning.
    "unknown crit": (
        "it needs an extension that is not known here",
        lambda i: i.sign(i.claims(), {"crit": ["exp"], "exp": NOW}),
    ),
    "crit of nothing": (
        "it needs an extension that is not known here",
        lambda i: by_hand({**GOOD, "crit": []}, i.claims()),
    ),
    "b64 false": (
        "it needs an extension that is not known here",
        lambda i: by_hand({**GOOD, "b64": False, "crit": ["b64"]}, i.claims()),
    ),
    "typ JWT": (
        "its type is not that of an access token",
        lambda i: i.sign(i.claims(), {"typ": "JWT"}),
    ),
    "no typ": (
        "its type is not that of an access token",
        lambda i: i.sign(i.claims(), {"typ": None}),
    ),
    "typ of an ID token": (
        "its type is not that of an access token",
        lambda i: i.sign(i.claims(), {"typ": "id+jwt"}),
    ),
    "typ of a logout": (
        "its type is not that of an access token",
        lambda i: i.sign(i.claims(), {"typ": "logout+jwt"}),
    ),
    "typ a number": (
        "its type is not that of an access token",
        lambda i: by_hand({**GOOD, "typ": 1}, i.claims()),
    ),
    # For another, from another.
    "no iss": ("it has no iss", lambda i: i.token(iss=None)),
    "iss of a stranger": (
        "its issuer is not known here",
        lambda i: i.token(iss="https://evil.example"),
    ),
    "iss with a slash more": ("its issuer is not known here", lambda i: i.token(iss=f"{i.url}/")),
    "iss in capitals": ("its issuer is not known here", lambda i: i.token(iss=i.url.upper())),
    "iss a list": ("it has no iss", lambda i: i.token(iss=[i.url])),
    "no aud": ("missing claim: 'aud'", lambda i: i.token(aud=None)),
    "aud of another": ("invalid claim: 'aud'", lambda i: i.token(aud="shipping")),
    "aud with more behind it": (
        "invalid claim: 'aud'",
        lambda i: i.token(aud="billing.evil.example"),
    ),
    "aud a list without us": ("invalid claim: 'aud'", lambda i: i.token(aud=["a", "b"])),
    "aud an object": (
        "claim 'aud' must be an array of StringOrURI value or a single StringOrURI value",
        lambda i: i.token(aud={"billing": True}),
    ),
    "aud empty": ("invalid claim: 'aud'", lambda i: i.token(aud="")),
    "an ID token": (
        "it is no access token",
        lambda i: i.token(nonce="n-0S6", at_hash="MTIzNDU2Nzg5MDEyMzQ1Ng"),
    ),
    "a logout token": ("it is no access token", lambda i: i.token(events={})),
    "bound to a certificate": (
        "it is bound to a key, and who sends it does not show that key",
        lambda i: i.token(cnf={"x5t#S256": "abc"}),
    ),
    "bound to a DPoP key": (
        "it is bound to a key, and who sends it does not show that key",
        lambda i: i.token(cnf={"jkt": "abc"}),
    ),
    # Times.
    "expired": ("the token is expired", lambda i: i.token(iat=NOW - 7200, exp=NOW - 3600)),
    "expired just beyond the leeway": (
        "the token is expired",
        lambda i: i.token(iat=NOW - 100, exp=NOW - 60),
    ),
    "not yet": ("the token is not yet valid", lambda i: i.token(nbf=NOW + 3600)),
    "issued in the future": (
        "the token was issued in the future",
        lambda i: i.token(iat=NOW + 3600, exp=NOW + 3900),
    ),
    "ten years": (
        "it lives longer than a token may",
        lambda i: i.token(exp=NOW + 10 * 365 * 86_400),
    ),
    "a second more than a day": (
        "it lives longer than a token may",
        lambda i: i.token(iat=NOW, exp=NOW + 86_401),
    ),
    "no exp": ("missing claim: 'exp'", lambda i: i.token(exp=None)),
    "no iat": ("missing claim: 'iat'", lambda i: i.token(iat=None)),
    "exp a text": (
        "claim 'exp' must be a NumericDate value",
        lambda i: i.token(exp=str(NOW + 300)),
    ),
    "exp true": ("claim 'exp' must be a NumericDate value", lambda i: i.token(exp=True)),
    "exp without end": (
        "it is not a signed JSON Web Token",
        lambda i: i.sign(json.dumps(i.claims(exp=1)).replace('"exp": 1', '"exp": 1e400').encode()),
    ),
    "exp not a number": ("it is not a signed JSON Web Token", lambda i: i.token(exp=float("nan"))),
    "exp of a thousand digits": (
        "it is not a signed JSON Web Token",
        lambda i: i.token(exp=10**1000),
    ),
    "iat a list": ("claim 'iat' must be a NumericDate value", lambda i: i.token(iat=[NOW])),
    "nbf null bytes": ("it is not a signed JSON Web Token", lambda i: i.token(nbf="\x00")),
    # Names.
    "no sub": ("it has no sub", lambda i: i.token(sub=None)),
    "sub empty": ("it has no sub", lambda i: i.token(sub="")),
    "sub a number": ("it has no sub", lambda i: i.token(sub=7)),
    "sub of 256 letters": (
        "its sub is not 1 to 255 visible ASCII characters",
        lambda i: i.token(sub="x" * 256),
    ),
    "sub with a space": (
        "its sub is not 1 to 255 visible ASCII characters",
        lambda i: i.token(sub="a b"),
    ),
    "sub with a line feed": (
        "its sub is not 1 to 255 visible ASCII characters",
        lambda i: i.token(sub="shop\n"),
    ),
    "sub with a NUL": ("it is not a signed JSON Web Token", lambda i: i.token(sub="shop\x00")),
    "sub not ASCII": (
        "its sub is not 1 to 255 visible ASCII characters",
        lambda i: i.token(sub="shöp"),
    ),
    "sub that looks like a client": (
        "its sub is not 1 to 255 visible ASCII characters",
        lambda i: i.token(sub="client/other"),
    ),
    "no jti": ("it has no jti", lambda i: i.token(jti=None)),
    "jti a number": ("it has no jti", lambda i: i.token(jti=7)),
    "no client_id": ("it has no client_id", lambda i: i.token(client_id=None)),
    "client_id a list": ("it has no client_id", lambda i: i.token(client_id=["shop"])),
    "customer that is no name": (
        "its customer_id names no customer",
        lambda i: i.token(customer_id="a b"),
    ),
    "customer a number": ("its customer_id names no customer", lambda i: i.token(customer_id=7)),
    # Not even a token.
    "empty": ("it is not a signed JSON Web Token", lambda i: ""),
    "one word": ("it is not a signed JSON Web Token", lambda i: "opaque-token"),
    "two parts": ("it is not a signed JSON Web Token", lambda i: i.token().rpartition(".")[0]),
    "four parts": ("it is not a signed JSON Web Token", lambda i: f"{i.token()}.AAAA"),
    "five parts, as if encrypted": (
        "it is not a signed JSON Web Token",
        lambda i: f"{i.token()}.AAAA.BBBB",
    ),
    "only dots": ("it is not a signed JSON Web Token", lambda i: ".."),
    "header no JSON": (
        "it is not a signed JSON Web Token",
        lambda i: f"{part(b'nope')}.{part(i.claims())}.AAAA",
    ),
    "header a list": ("it is not a signed JSON Web Token", lambda i: by_hand([], i.claims())),
    "claims no JSON": ("it is not a signed JSON Web Token", lambda i: i.sign(b"nope")),
    "claims a list": ("it is not a signed JSON Web Token", lambda i: i.sign(b"[]")),
    "claims that name a key twice": (
        "it is not a signed JSON Web Token",
        lambda i: i.sign(twice(i)),
    ),
    "claims with a lone surrogate": (
        "it is not a signed JSON Web Token",
        lambda i: i.sign(b'{"iss": "\\ud800"}'),
    ),
    "nested 2,000 deep": (
        "it is not a signed JSON Web Token",
        lambda i: i.sign(b'{"iss": ' + b"[" * 2000 + b"]" * 2000 + b"}"),
    ),
    "huge": ("it has more than 8,192 characters", lambda i: i.token(padding="x" * 20_000)),
    "20,000 letters": ("it has more than 8,192 characters", lambda i: "a" * 20_000),
    "two spaces within": (
        "it is not a signed JSON Web Token",
        lambda i: f"{i.token()} {i.token()}",
    ),
    "not ASCII": ("it is not a signed JSON Web Token", lambda i: f"{i.token()}\u00e9"),
}


@pytest.mark.parametrize(("reason", "make"), FORGED.values(), ids=FORGED.keys())
async def test_what_is_forged_or_odd_is_nobody(
    api: httpx2.AsyncClient, issuer: LocalIssuer, reason: str, make: Make
) -> None:
    """And for the reason that it was made for, not for a slip of its maker."""
    token = make(issuer)

    answer = await api.post(
        "/auth/check",
        json={"action": "orders.create"},
        headers=[(b"Authorization", b"Bearer " + token.encode("latin-1"))],
    )

    refused(answer, 401, "unauthenticated")
    assert reason in answer.json()["detail"]
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_they_are_more_than_sixty() -> None:
    assert len(FORGED) >= 60


async def test_only_good_keys_of_a_set_are_taken(issuer: LocalIssuer) -> None:
    assert set(signing_keys(list(issuer.published))) == {"ec", "rsa", "ed"}


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        "key",
        [],
        {},
        {"kid": 1, "kty": "EC"},
        {"kid": "a", "kty": "EC"},
        {"kid": "a", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kid": "a", "kty": "EC", "crv": 7, "x": 1, "y": None},
        {"kid": "a", "kty": "RSA", "n": "", "e": ""},
        {"kid": "a", "kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kid": "a", "kty": "OKP", "crv": "X25519", "x": "AA"},
        {"kid": "a", "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        {"kid": "a", "kty": "RSA", "key_ops": 7},
    ],
    ids=json.dumps,
)
async def test_an_odd_key_keeps_nobody_from_the_good_ones(issuer: LocalIssuer, odd: object) -> None:
    assert set(signing_keys([odd, *issuer.published])) == {"ec", "rsa", "ed"}


GOOD_HEADERS: dict[str, dict[str, Any]] = {
    "ES256": {},
    "RS256": {"alg": "RS256", "kid": "rsa"},
    "Ed25519": {"alg": "Ed25519", "kid": "ed"},
    "Ed25519 under its old name": {"alg": "EdDSA", "kid": "ed"},
    "a type in full": {"typ": "application/at+jwt"},
    "a type in capitals": {"typ": "AT+JWT"},
    "a header that means nothing here": {"x-trace": "1"},
}


@pytest.mark.parametrize("header", GOOD_HEADERS.values(), ids=GOOD_HEADERS.keys())
async def test_a_good_token_names_its_caller(issuer: LocalIssuer, header: dict[str, Any]) -> None:
    every = ["ES256", "RS256", "EdDSA", "Ed25519"]
    async with believing(issuer.settings(algorithms=every)) as http:
        assert await who(http, issuer.sign(issuer.claims(), header)) == "local/client/shop"


UNUSUAL: dict[str, Callable[[int], dict[str, Any]]] = {
    "for another, too": lambda now: {"aud": ["other", AUDIENCE]},
    "good for a little while": lambda now: {"nbf": now - 5},
    "as old as one may be": lambda now: {"iat": now - 86_399 + 300, "exp": now + 300},
    "of a clock that is ahead": lambda now: {"iat": now + 5, "exp": now + 305},
    "a long name": lambda now: {"sub": "x" * 255},
    "a name with signs": lambda now: {"sub": "auth0|a/b:c"},
    "roles that are none": lambda now: {"roles": ["service", "emperor", 7, None]},
    "one role": lambda now: {"roles": "service"},
}
"""Claims at this moment: when a test is run may be long after its module was read."""


@pytest.mark.parametrize("claims", UNUSUAL.values(), ids=UNUSUAL.keys())
async def test_what_is_unusual_but_right_is_believed(
    api: httpx2.AsyncClient, issuer: LocalIssuer, claims: Callable[[int], dict[str, Any]]
) -> None:
    answer = await check(api, issuer.token(**claims(int(time.time()))))
    assert (answer.status_code, answer.json()["allowed"]) == (200, True), answer.text


async def test_a_clock_that_is_a_little_late_is_forgiven(
    api: httpx2.AsyncClient, issuer: LocalIssuer
) -> None:
    now = int(time.time())
    assert (await check(api, issuer.token(iat=now - 60, exp=now - 2))).status_code == 200


async def test_a_caller_stays_who_it_is(issuer: LocalIssuer) -> None:
    """Idempotency keys hang on its name: neither another token nor another key changes it."""
    async with believing(issuer.settings()) as http:
        names = {
            await who(http, issuer.token(sub="alice", sid=uuid4().hex, email=f"{each}@x.example"))
            for each in range(3)
        }
        names.add(await who(http, issuer.sign(issuer.claims(sub="alice"), GOOD_HEADERS["RS256"])))
    assert names == {"local/alice"}


async def test_issuers_do_not_speak_for_each_other(issuer: LocalIssuer) -> None:
    async with local_issuer() as other:
        theirs = other.settings(alias="theirs")
        async with believing(issuer.settings(), theirs) as http:
            assert await who(http, issuer.token(sub="alice")) == "local/alice"
            assert await who(http, other.token(sub="alice")) == "theirs/alice"
            lie = issuer.sign(other.claims())
            refused(await check(http, lie), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ([], "Bearer"),
        ([("Authorization", "Basic YTpi")], "Bearer"),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], "Bearer"),
        ([("Authorization", "Bearer")], 'Bearer error="invalid_token"'),
        ([("X-Customer-Id", "demo")], "Bearer"),
    ],
    ids=["none", "Basic", "two", "nothing behind it", "as in dev"],
)
async def test_without_a_token_nobody_is_let_in(
    api: httpx2.AsyncClient, headers: list[tuple[str, str]], challenge: str
) -> None:
    answer = await api.post("/auth/check", content=b"{", headers=headers)
    refused(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == challenge


async def test_a_flood_of_unknown_keys_neither_reaches_the_issuer_nor_keeps_others_out(
    issuer: LocalIssuer,
) -> None:
    claims = issuer.claims()
    async with believing(issuer.settings()) as http:
        await who(http, issuer.token())
        before, began = issuer.fetched, time.monotonic()
        flood = [issuer.sign(claims, {"kid": uuid4().hex}, issuer.keys["ec"]) for _ in range(500)]
        good = [issuer.token(sub=f"person-{each}") for each in range(50)]

        refusals = asyncio.gather(*(check(http, token) for token in flood))
        callers = await asyncio.gather(*(who(http, token) for token in good))

        assert {each.status_code for each in await refusals} == {401}
        assert len(set(callers)) == len(good)
        periods = 1 + (time.monotonic() - began) // AGAIN
        assert issuer.fetched - before <= periods, "however many they are"


async def test_what_an_issuer_takes_back_is_void(issuer: LocalIssuer) -> None:
    async with believing(issuer.settings(not_before=NOW + 20)) as http:
        refused(await check(http, issuer.token(iat=NOW)), 401, "unauthenticated")


PROVIDERS: dict[str, tuple[dict[str, Any], dict[str, Any], str, list[str]]] = {
    "keycloak, a person": (
        {"profile": "keycloak"},
        {
            "typ": "Bearer",
            "azp": "portal",
            "client_id": None,
            "sub": "f3a1",
            "roles": None,
            "realm_access": {"roles": ["finance", "offline_access"]},
        },
        "local/f3a1",
        ["finance"],
    ),
    "keycloak, a client without audience": (
        {
            "profile": "keycloak",
            "audience": None,
            "client_ids": ["shop"],
            "roles_claim": "/resource_access/billing/roles",
        },
        {
            "aud": None,
            "azp": "shop",
            "sub": "0b6c",
            "roles": None,
            "resource_access": {"billing": {"roles": ["service"]}},
        },
        "local/client/shop",
        ["service"],
    ),
    "keycloak, a person whose token names a client": (
        {"profile": "keycloak", "client_roles": {"shop": ["admin"]}},
        {
            "sub": "f3a1",
            "client_id": "shop",
            "preferred_username": "alice",
            "realm_access": {"roles": ["finance"]},
        },
        "local/f3a1",
        ["finance"],
    ),
    "keycloak, a service account by its name": (
        {"profile": "keycloak"},
        {
            "sub": "0b6c",
            "preferred_username": "service-account-shop",
            "realm_access": {"roles": ["service"]},
        },
        "local/client/shop",
        ["service"],
    ),
    "auth0, a person": (
        {
            "profile": "auth0",
            "roles_map": {"write:orders": "service"},
        },
        {
            "sub": "auth0|6512",
            "azp": "spa",
            "client_id": None,
            "jti": None,
            "permissions": ["write:orders"],
        },
        "local/auth0|6512",
        ["service"],
    ),
    "auth0, a client": (
        {"profile": "auth0", "scope_roles": {"billing": "service"}},
        {"sub": "shop@clients", "azp": "shop", "client_id": None, "scope": "openid billing"},
        "local/client/shop",
        ["service"],
    ),
    "auth0, roles under an address": (
        {"profile": "auth0", "roles_claim": "https://billing.example/roles"},
        {"sub": "auth0|1", "azp": "spa", "https://billing.example/roles": ["operator"]},
        "local/auth0|1",
        ["operator"],
    ),
    "entra, a person": (
        {"profile": "entra", "roles_map": {"Billing.Operator": "operator"}},
        {
            "oid": "9a77",
            "tid": "t1",
            "sub": "pairwise",
            "azp": "spa",
            "client_id": None,
            "scp": "access",
            "roles": ["Billing.Operator"],
        },
        "local/9a77",
        ["operator"],
    ),
    "entra, a client": (
        {"profile": "entra", "scope_map": {}},
        {"oid": "5d", "tid": "t1", "sub": "5d", "azp": "shop", "client_id": None},
        "local/client/shop",
        ["service"],
    ),
    "cognito, a person": (
        {"profile": "cognito", "audience": None, "client_ids": ["web"]},
        {
            "aud": None,
            "sub": "77-b",
            "client_id": "web",
            "token_use": "access",
            "cognito:groups": ["admin"],
            "roles": None,
        },
        "local/77-b",
        ["admin"],
    ),
    "a client of an issuer that gives no roles": (
        {"client_roles": {"shop": ["service"]}},
        {"roles": None},
        "local/client/shop",
        ["service"],
    ),
}


@pytest.mark.parametrize(
    ("settings", "claims", "caller", "roles"), PROVIDERS.values(), ids=PROVIDERS.keys()
)
async def test_each_provider_is_read_as_it_writes(
    issuer: LocalIssuer,
    settings: dict[str, Any],
    claims: dict[str, Any],
    caller: str,
    roles: list[str],
) -> None:
    plain = {"typ": "JWT"} if "profile" in settings else {}
    async with believing(issuer.settings(**settings)) as http:
        token = issuer.sign(issuer.claims(**claims), plain)
        answer = await check(http, token)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["caller"], answer.json()["roles"]) == (caller, roles)


OTHER_USES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "keycloak's ID token": ({"profile": "keycloak"}, {"typ": "ID"}),
    "keycloak's refresh token": ({"profile": "keycloak"}, {"typ": "Refresh"}),
    "cognito's ID token": (
        {"profile": "cognito", "audience": None, "client_ids": ["shop"]},
        {"token_use": "id"},
    ),
    "cognito's for another client": (
        {"profile": "cognito", "audience": None, "client_ids": ["other"]},
        {"token_use": "access"},
    ),
    "entra's ID token": (
        {"profile": "entra"},
        {"client_id": None, "oid": "1", "tid": "2"},
    ),
    "auth0's ID token": ({"profile": "auth0"}, {"client_id": None, "azp": None}),
    "keycloak's without sub": ({"profile": "keycloak"}, {"sub": None}),
    "keycloak's without aud": ({"profile": "keycloak"}, {"aud": None}),
}


@pytest.mark.parametrize(("settings", "claims"), OTHER_USES.values(), ids=OTHER_USES.keys())
async def test_a_provider_s_token_for_another_use_opens_nothing(
    issuer: LocalIssuer, settings: dict[str, Any], claims: dict[str, Any]
) -> None:
    async with believing(issuer.settings(**settings)) as http:
        token = issuer.sign(issuer.claims(**claims), {"typ": "JWT"})
        refused(await check(http, token), 401, "unauthenticated")


async def test_a_token_may_do_what_both_its_roles_and_its_scopes_allow(
    issuer: LocalIssuer,
) -> None:
    limited = issuer.settings(scope_map={"pay": "billing.payments", "see": "billing.read"})
    async with believing(limited) as http:
        for scope, action, allowed in (
            ("pay see", "orders.create", True),
            ("see", "orders.create", False),
            ("pay", "orders.read", False),
            (None, "orders.read", False),
            ("pay", "usage.report", False),
            ("pay", "payments.resolve", False),
        ):
            verdict = (await check(http, issuer.token(scope=scope), action=action)).json()
            assert verdict["allowed"] == allowed, (scope, action)

        answer = await http.post("/api/v1/usage", headers=issuer.bearer(scope="pay"))
        refused(answer, 403, "insufficient-scope")
        assert 'scope="billing.usage"' in answer.headers["WWW-Authenticate"]


async def test_a_customer_without_a_name_is_no_customer(
    api: httpx2.AsyncClient, issuer: LocalIssuer
) -> None:
    nobody = await check(api, issuer.token(roles=["customer"]), action="invoices.pay")
    someone = await check(
        api, issuer.token(roles=["customer"], customer_id="acme"), action="invoices.pay"
    )
    refused(nobody, 403, "insufficient-role")
    assert someone.json()["allowed"] is True


async def test_it_says_whose_things_one_may_meet(
    api: httpx2.AsyncClient, issuer: LocalIssuer
) -> None:
    """A customer who is an operator besides pays only its own invoices as a customer."""
    acme = issuer.token(roles=["customer"], customer_id="acme")
    both = issuer.token(roles=["customer", "admin"], customer_id="acme")

    for token, action, customer, allowed in (
        (acme, "invoices.read", "acme", True),
        (acme, "invoices.read", "other", False),
        (both, "invoices.read", "other", True),
        (both, "invoices.pay", "acme", True),
        (both, "invoices.pay", "other", False),
    ):
        verdict = (await check(api, token, action=action, customerId=customer)).json()
        assert verdict["allowed"] == allowed, (action, customer)


@pytest.mark.parametrize(
    "wrong",
    [
        {"audience": None},
        {"alias": "dev"},
        {"alias": "os"},
        {"alias": "key"},
        {"alias": "a/b"},
        {"issuer": "http://issuer.example"},
        {"jwks_uri": "http://issuer.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"profile": "google"},
        {"roles_map": {"x": "emperor"}},
        {"scope_map": {"x": "everything"}},
        {"profile": "cognito"},
        {"audiance": "billing"},
    ],
    ids=str,
)
def test_an_issuer_that_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    entry = {"alias": "a", "issuer": "https://issuer.example", "audience": "billing", **wrong}
    with pytest.raises(ValidationError):
        Settings.model_validate({"billing_environment": "dev", "oidc_issuers": [entry]})


def test_two_issuers_cannot_share_a_name() -> None:
    """Their callers would share keys."""
    one = {"alias": "a", "issuer": "https://one.example", "audience": "billing"}
    for other in ({"alias": "a", "issuer": "https://two.example"}, {"alias": "b"}):
        with pytest.raises(ValidationError):
            Settings.model_validate({"oidc_issuers": [one, {**one, **other}]})
