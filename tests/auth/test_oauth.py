"""The same in the words of OAuth 2, for programs that speak with any issuer."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from service.password import HASHED
from tests.support.own_issuer import PASSWORD, WRONG, OwnIssuer

CLI = "billing-cli"
ENDPOINT = "/oauth/token"


async def asked(http: httpx2.AsyncClient, **fields: str) -> httpx2.Response:
    return await http.post(ENDPOINT, data=fields)


async def granted(http: httpx2.AsyncClient, name: str) -> dict[str, Any]:
    password = {"grant_type": "password", "username": name, "password": PASSWORD}
    answer = await asked(http, client_id=CLI, **password)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def is_error(answer: httpx2.Response, error: str, status: int = 400) -> None:
    """As RFC 6749, section 5.2, has it."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["Cache-Control"] == "no-store"


async def test_both_documents_say_what_there_is(own: OwnIssuer) -> None:
    http = own.at()
    documents = [
        (await http.get(f"/.well-known/{name}")).json()
        for name in ("openid-configuration", "oauth-authorization-server")
    ]

    assert documents[0] == documents[1]
    assert documents[0]["issuer"] == own.url
    grants = ["password", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]
    assert documents[0]["grant_types_supported"] == grants
    endpoints = {name for name in documents[0] if name.endswith("_endpoint")}
    assert endpoints == {
        *("token_endpoint", "revocation_endpoint", "device_authorization_endpoint"),
    }
    assert all(documents[0][name].startswith(own.url) for name in endpoints)
    assert (await http.get(documents[0]["jwks_uri"])).status_code == 200


async def test_a_program_logs_in_refreshes_and_leaves(
    own: OwnIssuer, closed: httpx2.AsyncClient
) -> None:
    who, http = await own.somebody(), own.at()

    tokens = await granted(http, who.name)

    assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert tokens["token_type"] == "Bearer"
    shown = {"Authorization": f"Bearer {tokens['access_token']}"}
    known = await closed.get("/auth/permissions", headers=shown)
    assert known.json()["caller"] == f"own/{who.id}"
    again = {"grant_type": "refresh_token", "client_id": CLI}
    following = await asked(http, refresh_token=tokens["refresh_token"], **again)
    assert following.status_code == 200
    next_token = following.json()["refresh_token"]
    for _ in range(2):
        gone = await http.post("/oauth/revoke", data={"token": next_token, "client_id": CLI})
        assert (gone.status_code, gone.content) == (200, b"")
    is_error(await asked(http, refresh_token=next_token, **again), "invalid_grant")


async def test_a_wrong_password_and_too_many_of_them_have_their_errors(own: OwnIssuer) -> None:
    who, http = await own.somebody(), own.at()
    fields = {"grant_type": "password", "client_id": CLI, "password": WRONG}
    for name in (who.name, f"nobody-{uuid4().hex}", "a", "b", "c"):
        is_error(await asked(http, username=name, **fields), "invalid_grant")

    answer = await asked(http, username=who.name, **fields)

    is_error(answer, "slow_down", 429)
    assert int(answer.headers["Retry-After"]) >= 1


BAD: dict[str, tuple[str, Mapping[str, str]]] = {
    "nothing": ("invalid_request", {}),
    "no grant": ("invalid_request", {"client_id": CLI}),
    "another grant": (
        "unsupported_grant_type",
        {"client_id": CLI, "grant_type": "authorization_code"},
    ),
    "no client": ("invalid_request", {"grant_type": "password", "username": "a", "password": "b"}),
    "a client that is none": (
        "invalid_client",
        {"client_id": "evil", "grant_type": "password", "username": "a", "password": "b"},
    ),
    "no name": (
        "invalid_request",
        {"client_id": CLI, "grant_type": "password", "password": "b"},
    ),
    "an endless password": (
        "invalid_request",
        {"client_id": CLI, "grant_type": "password", "username": "a", "password": "b" * 300},
    ),
    "no token": ("invalid_request", {"client_id": CLI, "grant_type": "refresh_token"}),
    "a token that was never issued": (
        "invalid_grant",
        {"client_id": CLI, "grant_type": "refresh_token", "refresh_token": "x" * 43},
    ),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_is_wrong_is_said_and_no_password_is_looked_at(
    own: OwnIssuer, what: str
) -> None:
    error, fields = BAD[what]
    before = HASHED._value.get()

    is_error(await asked(own.at(), **fields), error)

    assert HASHED._value.get() == before


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"grant_type=password&grant_type=refresh_token", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(100)), "application/x-www-form-urlencoded"),
        (b"grant_type=%ff%fe", "application/x-www-form-urlencoded"),
        ("grant_type=pässword".encode(), "application/x-www-form-urlencoded"),
        (b'{"grant_type": "password"}', "application/json"),
        (b"", ""),
    ],
    ids=["twice", "many fields", "no UTF-8", "not ASCII", "JSON", "no type"],
)
async def test_what_is_no_form_is_refused(own: OwnIssuer, body: bytes, kind: str) -> None:
    for path in (ENDPOINT, "/oauth/revoke"):
        answer = await own.at().post(path, content=body, headers={"Content-Type": kind})
        is_error(answer, "invalid_request")


async def test_a_token_that_is_nobodys_is_revoked_without_a_word(own: OwnIssuer) -> None:
    """RFC 7009, section 2.2; an access token ends by itself."""
    http = own.at()
    for token in ("x", "x" * 43, "x" * 2000):
        answer = await http.post("/oauth/revoke", data={"token": token})
        assert answer.status_code == 200


async def test_only_what_must_be_open_is_open(own: OwnIssuer) -> None:
    """Everything else asks for a token, or is not there."""
    http = own.at()
    for path in ("/", "/swagger", "/docs", "/metrics", "/auth/users", "/api/v1/orders"):
        assert (await http.get(path)).status_code in (401, 404), path
    for path in ("/health/live", "/health/ready", "/jwks", "/openapi.json"):
        assert (await http.get(path)).status_code == 200, path
