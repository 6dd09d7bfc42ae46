"""OAuth 2 access tokens: whom an issuer says that a request comes from (RFC 9068, RFC 6750).

The only importer of joserfc, whose `JWTClaimsRegistry` checks what it is told to and nothing else:
type, lifetime, form of the subject and key sizes are looked at here.
"""

import time
import warnings
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import httpx2
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jwt import ClaimsOption, JWTClaimsRegistry
from starlette.datastructures import Headers

from api.issuers import Keys
from domain.access import Access
from domain.errors import Rejected, Unauthenticated
from domain.identifier import IDEMPOTENCY_KEY, NAME, has_form
from domain.roles import Role, TokenScope
from domain.strict_json import lossless, parse
from runtime.issuer import Issuer, Profile

MAX_LENGTH = 8 * 1024
CURVES = frozenset({"P-256", "P-384", "Ed25519"})
MIN_RSA_BITS = 2048
SUBJECT = IDEMPOTENCY_KEY
"""1 to 255 visible ASCII characters."""
CLIENT = "client/"
SERVICE_ACCOUNT = "service-account-"
"""How Keycloak calls the user that stands for a client."""
ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events"})
"""Only in tokens that tell a client who has logged in or out; such a token opens nothing."""

BELIEVED_SECONDS = 30.0
"""For how long a token that was verified is not verified again: a signature costs more than all
else that a small request does. What an issuer takes back is believed so much longer."""
BELIEVED_TOKENS = 10_000

Claims = dict[str, Any]


@dataclass(frozen=True)
class _Believed:
    access: Access
    until: float


class Tokens:
    """Says who sends a request, by its token, as the issuers that are named here know them."""

    def __init__(
        self,
        issuers: Iterable[Issuer],
        http: httpx2.AsyncClient,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._clock = clock
        self._issuers = {each.issuer: (each, Keys(each, http, signing_keys)) for each in issuers}
        self._believed: OrderedDict[bytes, _Believed] = OrderedDict()

    async def identify(self, headers: Headers) -> Access:
        """Raises `Unauthenticated`, or `IssuerUnreachable` if it cannot be known at the moment."""
        token = _presented(headers)
        digest = sha256(token.encode("latin-1")).digest()
        known = self._believed.get(digest)
        if known is not None and self._clock() < known.until:
            return known.access
        access, expires = await self._verified(token)
        self._believe(digest, _Believed(access, min(expires, self._clock() + BELIEVED_SECONDS)))
        return access

    async def start(self) -> None:
        """Ask every issuer for its keys before somebody waits for them."""
        for _, keys in self._issuers.values():
            await keys.refresh()

    async def close(self) -> None:
        for _, keys in self._issuers.values():
            await keys.close()
        await self._http.aclose()

    def _believe(self, digest: bytes, believed: _Believed) -> None:
        self._believed[digest] = believed
        self._believed.move_to_end(digest)
        if len(self._believed) > BELIEVED_TOKENS:
            self._believed.popitem(last=False)

    async def _verified(self, token: str) -> tuple[Access, float]:
        """The caller and when the token ends."""
        header, unverified = _parts(token)
        issuer, keys = self._issuers.get(_text(unverified, "iss"), (None, None))
        if issuer is None or keys is None:
            raise _refused("Its issuer is not known here")
        _check_header(header, issuer)
        key = await keys.find(_text(header, "kid"))
        if key is None:
            raise _refused("Its issuer has no key of that name")
        _verify(token, header, key)
        _check_claims(unverified, issuer, self._clock())
        return _access(unverified, issuer), float(unverified["exp"])


def _refused(words: str) -> Unauthenticated:
    return Unauthenticated(
        f"The token is not believed: {words[0].lower()}{words[1:]}.", presented=True
    )


def _presented(headers: Headers) -> str:
    sent = headers.getlist("authorization")
    if not sent:
        raise Unauthenticated("Send an access token: Authorization: Bearer ….")
    scheme, _, token = sent[0].partition(" ")
    if len(sent) > 1 or scheme.lower() != "bearer":
        raise Unauthenticated("Send one Authorization header, with the scheme Bearer.")
    if len(token) > MAX_LENGTH:
        raise _refused(f"It has more than {MAX_LENGTH:,} characters")
    return token.strip(" ")


def _parts(token: str) -> tuple[Claims, Claims]:
    """Header and claims, of which nothing is believed yet."""
    parts = token.split(".")
    if len(parts) != 3 or not all(parts) or not token.isascii():
        raise _refused("It is not a signed JSON Web Token")
    try:
        header, claims = (parse(_decoded(each), lossless) for each in parts[:2])
    except (ValueError, Rejected):
        raise _refused("It is not a signed JSON Web Token") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _refused("It is not a signed JSON Web Token")
    return header, claims


def _decoded(part: str) -> bytes:
    if not part.replace("-", "a").replace("_", "a").isalnum():
        raise ValueError("not base64url")
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _text(values: Claims, name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise _refused(f"It has no {name}")
    return value


def _check_header(header: Claims, issuer: Issuer) -> None:
    """Keys that a token brings along, or points to, are not even looked at."""
    if header.get("alg") not in issuer.algorithms:
        raise _refused("Its algorithm is not accepted")
    if "crit" in header or "b64" in header:
        raise _refused("It needs an extension that is not known here")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str):
        raise _refused("Its type is not that of an access token")
    kind = kind.lower().removeprefix("application/")
    if kind != "at+jwt" and not (issuer.plain_type and kind == "jwt"):
        raise _refused("Its type is not that of an access token")


def _verify(token: str, header: Claims, key: Key) -> None:
    algorithm = header["alg"]
    if key.get("alg", algorithm) != algorithm:
        raise _refused("Its key is for another algorithm")
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = MAX_LENGTH
    try:
        with warnings.catch_warnings():
            # `EdDSA` is called `Ed25519` now; issuers still say it the old way.
            warnings.simplefilter("ignore", SecurityWarning)
            jws.deserialize_compact(token, key, registry=registry)
    except (JoseError, ValueError):
        raise _refused("Its signature does not verify") from None


def _check_claims(claims: Claims, issuer: Issuer, now: float) -> None:
    for name in issuer.required_claims:
        _text(claims, name)
    essential: dict[str, ClaimsOption] = {
        "iss": {"essential": True, "value": issuer.issuer},
        "exp": {"essential": True},
        "iat": {"essential": True},
    }
    if issuer.audience is not None:
        essential["aud"] = {"essential": True, "value": issuer.audience}
    registry = JWTClaimsRegistry(now=int(now), leeway=issuer.leeway_seconds, **essential)
    try:
        registry.validate(claims)
    except JoseError as error:
        raise _refused(error.description or "A claim is missing") from None
    if claims["exp"] - claims["iat"] > issuer.max_lifetime_seconds:
        raise _refused("It lives longer than a token may")
    if issuer.not_before is not None and claims["iat"] < issuer.not_before:
        raise _refused("Its issuer has taken back what it issued then")
    if "cnf" in claims:
        raise _refused("It is bound to a key, and who sends it does not show that key")
    if issuer.client_ids and _client(claims) not in issuer.client_ids:
        raise _refused("It was issued to a client that is not known here")
    _check_use(claims, issuer)


def _check_use(claims: Claims, issuer: Issuer) -> None:
    """Where the type in the header says nothing, tokens for other uses are told by their claims."""
    other = bool(ID_TOKEN_CLAIMS & claims.keys())
    if issuer.profile is Profile.KEYCLOAK:
        other = other or claims.get("typ", "Bearer") != "Bearer"
    if issuer.profile is Profile.COGNITO:
        other = other or claims.get("token_use") != "access"
    if issuer.profile in (Profile.AUTH0, Profile.ENTRA):
        other = other or not _client(claims)
    if other:
        raise _refused("It is no access token")


def _client(claims: Claims) -> str:
    """The client that asked for the token; empty if none is named."""
    for name in ("client_id", "azp", "appid"):
        value = claims.get(name)
        if isinstance(value, str) and has_form(value, SUBJECT):
            return value
    return ""


def _access(claims: Claims, issuer: Issuer) -> Access:
    client = _client(claims)
    of_client = _is_of_client(claims, issuer, client)
    subject = claims.get(issuer.subject_claim)
    # One person's name must not be that of a client.
    if not has_form(subject, SUBJECT) or subject.startswith(CLIENT):
        raise _refused(f"Its {issuer.subject_claim} is not 1 to 255 visible ASCII characters")
    name = f"{CLIENT}{client}" if of_client else subject
    scopes = _scopes(claims, issuer)
    roles = _roles(claims, issuer, client if of_client else "", scopes)
    customer = _customer(claims, issuer)
    if not customer:
        roles -= {Role.CUSTOMER}
    token_id, session_id = claims.get("jti"), claims.get("sid")
    return Access(
        caller=f"{issuer.alias}/{name}",
        roles=roles,
        customer_id=customer,
        scopes=_limits(issuer, scopes, of_client),
        token_id=token_id if isinstance(token_id, str) else "",
        until=float(claims["exp"]),
        session_id=session_id if isinstance(session_id, str) else "",
    )


def _is_of_client(claims: Claims, issuer: Issuer, client: str) -> bool:
    """Whether nobody but a client asked (client credentials), as each provider shows it."""
    if not client:
        return False
    subject = claims.get("sub")
    match issuer.profile:
        case Profile.KEYCLOAK:
            name = claims.get("preferred_username", SERVICE_ACCOUNT)
            return "client_id" in claims and str(name).startswith(SERVICE_ACCOUNT)
        case Profile.AUTH0:
            return subject == f"{client}@clients"
        case Profile.ENTRA:
            return "scp" not in claims and claims.get("idtyp", "app") == "app"
        case Profile.RFC9068 | Profile.COGNITO:
            return bool(subject == client)


def _roles(claims: Claims, issuer: Issuer, client: str, scopes: frozenset[str]) -> frozenset[Role]:
    """Of the claim, of the scopes and of the client; names that mean nothing here are dropped."""
    named = _names(_claim(claims, issuer.roles_claim))
    granted = {issuer.roles_map[each] for each in named if each in issuer.roles_map}
    granted |= {issuer.scope_roles[each] for each in scopes if each in issuer.scope_roles}
    return frozenset(granted) | issuer.client_roles.get(client, frozenset())


def _scopes(claims: Claims, issuer: Issuer) -> frozenset[str]:
    value = _claim(claims, issuer.scope_claim)
    return frozenset(value.split(" ") if isinstance(value, str) else _names(value))


def _limits(
    issuer: Issuer, scopes: frozenset[str], of_client: bool
) -> frozenset[TokenScope] | None:
    # Entra gives clients no scopes: their roles are their only limit.
    if issuer.scope_map is None or (of_client and issuer.profile is Profile.ENTRA):
        return None
    return frozenset(issuer.scope_map[each] for each in scopes if each in issuer.scope_map)


def _customer(claims: Claims, issuer: Issuer) -> str:
    value = _claim(claims, issuer.customer_claim)
    if value is None:
        return ""
    if not has_form(value, NAME):
        raise _refused(f"Its {issuer.customer_claim} names no customer")
    return value


def _names(value: object) -> list[str]:
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [each for each in names if isinstance(each, str)]


def _claim(claims: Claims, path: str) -> object:
    """By name, or by a JSON pointer: names may hold dots, colons and whole addresses."""
    if not path.startswith("/"):
        return claims.get(path)
    value: object = claims
    for part in path[1:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        value = value.get(name) if isinstance(value, dict) else None
    return value


def signing_keys(found: list[object]) -> Mapping[str, Key]:
    """Those keys of a set, by name, that are good for signatures; others are passed over."""
    keys: dict[str, Key] = {}
    for each in found:
        if isinstance(each, dict) and (key := _signing_key(each)) is not None:
            keys.setdefault(each["kid"], key)
    return keys


def _signing_key(data: dict[str, Any]) -> Key | None:
    use, operations = data.get("use", "sig"), data.get("key_ops", ["verify"])
    named = isinstance(data.get("kid"), str) and data.get("kty") in ("RSA", "EC", "OKP")
    verifies = use == "sig" and isinstance(operations, list) and "verify" in operations
    # `d` is the private half: a key that everybody has proves nothing.
    if not named or not verifies or "d" in data:
        return None
    try:
        with warnings.catch_warnings():
            # A short key is refused below, not warned of.
            warnings.simplefilter("ignore", SecurityWarning)
            key = JWKRegistry.import_key(data)
            return key if _is_strong(key) else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _is_strong(key: Key) -> bool:
    match key:
        case RSAKey():
            return key.public_key.key_size >= MIN_RSA_BITS
        case ECKey() | OKPKey():
            return key.curve_name in CURVES
    return False
