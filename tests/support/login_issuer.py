"""An issuer that people log in with: the device flow, a password, renewal and revocation, as the
RFCs have them, over HTTP on loopback. Its tokens are those of `LocalIssuer`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from joserfc.jwk import ECKey

from cli.oauth import DEVICE
from tests.support.issuer import LocalIssuer
from tests.support.local_server import Request, Response, local_server

PASSWORD = "correct horse"


@dataclass
class LoginIssuer:
    """`polls`: what the next questions about a device are answered, before somebody agrees."""

    signer: LocalIssuer = field(default_factory=LocalIssuer)
    person: str = "alice"
    roles: tuple[str, ...] = ("finance",)
    lifetime: int = 300
    polls: list[str] = field(default_factory=list)
    offers: frozenset[str] = frozenset({"device", "password"})
    refresh_token: str = ""
    renewals: int = 0
    revoked: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    claims_to_be: str = ""

    @property
    def url(self) -> str:
        return self.signer.url

    async def __call__(self, request: Request) -> Response:
        match request.path:
            case "/.well-known/openid-configuration":
                return Response(body=self._about_itself())
            case "/keys":
                return Response(body={"keys": self.signer.published})
            case "/device":
                return Response(body=self._device())
            case "/token":
                self.asked.append(request.form)
                return self._token(request.form)
            case "/revoke":
                self.revoked.append(request.form["token"])
                return Response(body={})
        return Response(404)

    def _about_itself(self) -> dict[str, object]:
        said: dict[str, object] = {
            "issuer": self.claims_to_be or self.url,
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint": f"{self.url}/token",
            "revocation_endpoint": f"{self.url}/revoke",
            "grant_types_supported": ["refresh_token"],
        }
        if "device" in self.offers:
            said["device_authorization_endpoint"] = f"{self.url}/device"
        if "password" in self.offers:
            said["grant_types_supported"] = ["refresh_token", "password"]
        return said

    def _device(self) -> dict[str, object]:
        return {
            "device_code": "a device",
            "user_code": "WDJB-MJHT",
            "verification_uri": f"{self.url}/enter",
            "expires_in": 600,
            "interval": 0,
        }

    def _token(self, form: dict[str, str]) -> Response:
        kind = form["grant_type"]
        if kind == DEVICE and self.polls:
            return _denied(self.polls.pop(0))
        if kind == "password" and form["password"] != PASSWORD:
            return _denied("invalid_grant", "The password is wrong.")
        if kind == "refresh_token":
            if form["refresh_token"] != self.refresh_token:
                return _denied("invalid_grant", "It was used before.")
            self.renewals += 1
        self.refresh_token = uuid4().hex
        claims = {"sub": self.person, "client_id": form["client_id"], "roles": list(self.roles)}
        return Response(
            body={
                "access_token": self.signer.token(**claims),
                "refresh_token": self.refresh_token,
                "token_type": "Bearer",
                "expires_in": self.lifetime,
            }
        )


def _denied(code: str, words: str | None = None) -> Response:
    said = {"error": code} if words is None else {"error": code, "error_description": words}
    return Response(400, said)


@asynccontextmanager
async def login_issuer() -> AsyncIterator[LoginIssuer]:
    issuer = LoginIssuer()
    issuer.signer.add("ec", ECKey.generate_key("P-256"))
    async with local_server(issuer) as url:
        issuer.signer.url = url
        yield issuer
