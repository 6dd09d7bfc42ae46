"""Keycloak as its users run it, and realms of it, made as docs/operations.md says."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from signal import SIGTERM
from typing import Any
from uuid import uuid4

import httpx2

from dev import process
from tests.support import programs
from tests.support.conditions import PATIENCE_SECONDS

VERSION = "26.7.3"
SHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
ADMIN = {"username": "admin", "password": "only for tests"}
SECRET = "only for tests"
AUDIENCE = "billing"
SERVICE = "shop"
"""A client with a service account."""
PROGRAM = "billing-cli"
"""A public client that people log in with, by password or by device."""
ELSEWHERE = "elsewhere"
"""A client that nobody has given the audience."""
Document = dict[str, Any]


@contextmanager
def keycloak() -> Iterator[str]:
    """Its address, while it runs. It keeps everything in memory."""
    home = programs.from_maven(
        "org.keycloak", "keycloak-quarkus-dist", VERSION, SHA256, "NOT TESTED against Keycloak"
    )
    # Both are given: a taken one would be found only at the end of the start.
    port, management = process.free_port(), process.free_port()
    server = process.start(
        "Keycloak",
        [
            *("sh", home / "bin" / "kc.sh", "start-dev", "--db=dev-mem", "--http-host=127.0.0.1"),
            *(f"--http-port={port}", f"--http-management-port={management}"),
        ],
        log=home / "keycloak.log",
        ready=lambda: process.http_get(port, "/realms/master")[0] == 200,
        # The first of the two processes of its script is a child, which the script ends then.
        death_signal=SIGTERM,
        environment={
            **os.environ,
            "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN["username"],
            "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN["password"],
        },
    )
    try:
        process.wait_until_ready([server])
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop([server])


@dataclass(frozen=True)
class Realm:
    """One realm: what its administrator does there, and the tokens that it grants."""

    http: httpx2.AsyncClient
    name: str = field(default_factory=lambda: f"r-{uuid4().hex}")

    @property
    def issuer(self) -> str:
        return str(self.http.base_url.join(f"realms/{self.name}"))

    def settings(self, **more: Any) -> Document:
        """Its entry in `OIDC_ISSUERS`."""
        usual = {"alias": "staff", "issuer": self.issuer, "audience": AUDIENCE}
        return {**usual, "profile": "keycloak", **more}

    async def granted(self, client: str, **wanted: str) -> Document:
        """What the client is granted with its secret, if it has one."""
        secret = {} if client == PROGRAM else {"client_secret": SECRET}
        return await _granted(self.http, self.name, {"client_id": client, **secret, **wanted})

    async def of_service(self, client: str = SERVICE) -> str:
        """The access token of a service account."""
        granted = await self.granted(client, grant_type="client_credentials")
        return str(granted["access_token"])

    async def of_person(self, username: str) -> Document:
        """All tokens of somebody who has typed their password."""
        person = {"username": username, "password": SECRET, "scope": "openid"}
        return await self.granted(PROGRAM, grant_type="password", **person)

    async def add_client(self, client_id: str, scopes: list[str], **more: Any) -> None:
        """Scopes that are named replace those that every client has: `basic` and `roles` go."""
        document = {"clientId": client_id, "defaultClientScopes": scopes, **more}
        await self.asked("POST", "/clients", document)

    async def add_service(self, client_id: str, scopes: list[str], **more: Any) -> None:
        """A client that acts for itself, with the role `service`."""
        account = {"serviceAccountsEnabled": True, "standardFlowEnabled": False, "secret": SECRET}
        await self.add_client(client_id, scopes, **account, **more)
        (client,) = await self.asked("GET", f"/clients?clientId={client_id}")
        user = await self.asked("GET", f"/clients/{client['id']}/service-account-user")
        await self._give(user["id"], "service")

    async def add_person(self, username: str, role: str, **attributes: str) -> str:
        """Somebody with a password; returns their `sub`."""
        password = {"type": "password", "value": SECRET, "temporary": False}
        # Who has no name or address is asked for it before the first token.
        person = {"firstName": "A", "lastName": "Person", "email": f"{username}@example.com"}
        document = {"username": username, "enabled": True, "credentials": [password], **person}
        listed = {name: [value] for name, value in attributes.items()}
        await self.asked("POST", "/users", {**document, "attributes": listed})
        (user,) = await self.asked("GET", f"/users?exact=true&username={username}")
        await self._give(user["id"], role)
        return str(user["id"])

    async def rotate_keys(self) -> None:
        """A new key signs from now on, as its priority is the highest; the old one stays known."""
        config = {"priority": ["200"], "algorithm": ["RS256"], "keySize": ["2048"]}
        kind = {"providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider"}
        await self.asked("POST", "/components", {"name": "newer", **kind, "config": config})

    async def asked(self, method: str, path: str, document: object = None) -> Any:
        """What the admin API answers about this realm."""
        return await _administered(self.http, method, f"/admin/realms/{self.name}{path}", document)

    async def _give(self, user_id: str, role: str) -> None:
        found = await self.asked("GET", f"/roles/{role}")
        await self.asked("POST", f"/users/{user_id}/role-mappings/realm", [found])


@asynccontextmanager
async def realm(url: str) -> AsyncIterator[Realm]:
    """A realm with roles, audience and clients, as docs/operations.md says."""
    async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as http:
        made = Realm(http)
        await _administered(
            http,
            "POST",
            "/admin/realms",
            {"realm": made.name, "enabled": True, "sslRequired": "none"},
        )
        for role in ("customer", "service"):
            await made.asked("POST", "/roles", {"name": role})
        profile = await made.asked("GET", "/users/profile")
        # An attribute that the profile does not list is dropped otherwise. Whoever could write it
        # themselves would choose whose things they see.
        await made.asked(
            "PUT", "/users/profile", {**profile, "unmanagedAttributePolicy": "ADMIN_EDIT"}
        )
        await made.asked("POST", "/client-scopes", _SCOPE)
        scopes = ["basic", "roles", str(_SCOPE["name"])]
        await made.add_service(SERVICE, scopes)
        await made.add_service(ELSEWHERE, scopes[:2])
        await made.add_client(
            PROGRAM,
            scopes,
            publicClient=True,
            directAccessGrantsEnabled=True,
            optionalClientScopes=["offline_access"],
            attributes={"oauth2.device.authorization.grant.enabled": "true"},
        )
        yield made


def _mapper(name: str, kind: str, **config: str) -> Document:
    into = {"access.token.claim": "true", "id.token.claim": "true"}
    whole = {each.replace("_", "."): value for each, value in config.items()}
    protocol = {"protocol": "openid-connect", "protocolMapper": kind}
    return {"name": name, **protocol, "config": {**into, **whole}}


_SCOPE: Document = {
    "name": "billing",
    "protocol": "openid-connect",
    "protocolMappers": [
        # Into ID tokens as well: the worst that can be done. Their `typ` alone tells them then.
        _mapper("audience", "oidc-audience-mapper", included_custom_audience=AUDIENCE),
        {
            **_mapper("customer", "oidc-usermodel-attribute-mapper"),
            "config": {
                "user.attribute": "customer_id",
                "claim.name": "customer_id",
                "jsonType.label": "String",
                "access.token.claim": "true",
            },
        },
    ],
}


async def _administered(http: httpx2.AsyncClient, method: str, path: str, document: object) -> Any:
    """With a token of its own: an administrator's ends after a minute."""
    wanted = {"grant_type": "password", "client_id": "admin-cli", **ADMIN}
    granted = await _granted(http, "master", wanted)
    headers = {"Authorization": f"Bearer {granted['access_token']}"}
    answer = await http.request(method, path, json=document, headers=headers)
    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


async def _granted(http: httpx2.AsyncClient, name: str, wanted: dict[str, str]) -> Document:
    answer = await http.post(f"/realms/{name}/protocol/openid-connect/token", data=wanted)
    assert answer.status_code == 200, answer.text
    granted: Document = answer.json()
    return granted
