"""The issuers of tokens that an installation believes, as its settings name them.

What providers really put into an access token differs; a profile says where a provider keeps what,
and a setting of the issuer overrules it.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.roles import Role, TokenScope

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
MAX_LEEWAY_SECONDS = 300
"""How much longer than it says a token is believed at most."""


class Profile(StrEnum):
    """Whose tokens these are like."""

    RFC9068 = "rfc9068"
    KEYCLOAK = "keycloak"
    AUTH0 = "auth0"
    ENTRA = "entra"
    COGNITO = "cognito"


PRESETS: dict[Profile, dict[str, Any]] = {
    # The standard: nothing has to be guessed.
    Profile.RFC9068: {
        "plain_type": False,
        "required_claims": ("sub", "client_id", "jti"),
        "roles_claim": "roles",
    },
    # `typ` is JWT unless the client says otherwise; only service accounts have a `client_id`.
    Profile.KEYCLOAK: {"required_claims": ("sub", "jti"), "roles_claim": "/realm_access/roles"},
    Profile.AUTH0: {"required_claims": ("sub",), "roles_claim": "permissions"},
    # `sub` differs from application to application; `oid` is the person, or the application.
    Profile.ENTRA: {
        "required_claims": ("oid", "tid"),
        "roles_claim": "roles",
        "scope_claim": "scp",
        "subject_claim": "oid",
    },
    # No audience at all: who is meant is told by the client that asked.
    Profile.COGNITO: {
        "required_claims": ("sub", "client_id", "token_use"),
        "roles_claim": "cognito:groups",
    },
}

Algorithm = Literal["RS256", "PS256", "ES256", "EdDSA", "Ed25519"]
"""Never one with a shared secret: whoever can check such a token can make it."""

Claim = Annotated[str, Field(min_length=1, max_length=200)]
"""The name of a claim, or, if it begins with `/`, a JSON pointer to one within others."""

OTHERS = frozenset({"dev", "key", "os"})
"""How the names of callers begin whom no issuer knows: in `dev`, with an API key, and at a machine
of the installation. Idempotency keys hang on those names, so no token may have one of them."""


class Issuer(BaseModel):
    """One entry of `OIDC_ISSUERS`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    alias: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
    """First part of the names of all its callers, for ever: idempotency keys hang on it."""
    issuer: str
    """As in the claim `iss`, byte for byte."""
    profile: Profile = Profile.RFC9068
    audience: str | None = None
    client_ids: frozenset[str] = frozenset()
    """If any are named, only tokens that these clients asked for are believed."""
    algorithms: tuple[Algorithm, ...] = Field(("RS256", "PS256", "ES256"), min_length=1)
    jwks_uri: str | None = None
    """Where its keys are; found by discovery without it."""
    jwks_file: str | None = None
    """Its keys in a file, for whoever must start without asking it."""
    plain_type: bool = True
    """Whether a token may be of the type `JWT`, or of none, instead of `at+jwt`."""
    required_claims: tuple[str, ...] = ("sub",)
    subject_claim: Claim = "sub"
    customer_claim: Claim = "customer_id"
    roles_claim: Claim = "roles"
    scope_claim: Claim = "scope"
    roles_map: dict[str, Role] = Field({str(role): role for role in Role})
    """Its names of our roles; every other name means nothing."""
    scope_roles: dict[str, Role] = {}
    """Roles that a scope grants, for issuers that give clients no roles."""
    client_roles: dict[str, frozenset[Role]] = {}
    """Roles of clients by `client_id`, for issuers that give them neither."""
    scope_map: dict[str, TokenScope] | None = None
    """Its names of our scopes. If set, a token may do only what both its roles and scopes allow."""
    leeway_seconds: int = Field(30, ge=0, le=MAX_LEEWAY_SECONDS)
    max_lifetime_seconds: int = Field(86_400, ge=60)
    not_before: int | None = None
    """Tokens issued earlier than this moment (in seconds since 1970) are void."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        profile = values.get("profile", Profile.RFC9068)
        return {**PRESETS.get(profile, {}), **values}

    @model_validator(mode="after")
    def _complete(self) -> "Issuer":
        if self.audience is None and not self.client_ids:
            raise ValueError(f"{self.alias} needs an audience or client_ids")
        if self.audience is not None and self.profile is Profile.COGNITO:
            raise ValueError(f"{self.alias}: tokens of cognito have no audience; name client_ids")
        if self.alias in OTHERS:
            raise ValueError(
                f"{self.alias} begins the names of callers without tokens: choose another alias"
            )
        for url in (self.issuer, self.jwks_uri):
            if url is not None and not is_private(url):
                raise ValueError(f"{self.alias}: {url} should be https")
        return self


def is_private(url: str) -> bool:
    """Whether nobody on the way can read or change what comes from there."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
