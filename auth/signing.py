"""Access tokens, signed: exactly those of RFC 9068, which our API checks like anybody's.

Beside `api.tokens`, which reads them, the only importer of joserfc.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import ECKey

from domain.roles import Role
from service import signing_key
from service.realm import Realm
from service.session import Grant


@dataclass(frozen=True)
class Terms:
    """What stands in every token."""

    issuer: str
    audience: str
    seconds: int


async def access_token(realm: Realm, terms: Terms, grant: Grant) -> str:
    """For whom a session is, signed with the key of the moment."""
    with_what = await signing_key.signing(realm)
    key = ECKey.import_key(with_what.private)
    header = {"alg": "ES256", "typ": "at+jwt", "kid": with_what.id}
    return jwt.encode(header, dict(_claims(terms, grant)), key)


def _claims(terms: Terms, grant: Grant) -> Mapping[str, Any]:
    now = int(time.time())
    user = grant.user
    claims = {
        "iss": terms.issuer,
        "aud": terms.audience,
        "sub": user.id,
        "client_id": grant.client_id,
        "iat": now,
        "exp": now + terms.seconds,
        "jti": uuid4().hex,
        "sid": grant.session_id,
        "roles": [str(role) for role in Role if role in user.roles],
    }
    if user.customer_id is not None:
        claims["customer_id"] = user.customer_id
    return claims
