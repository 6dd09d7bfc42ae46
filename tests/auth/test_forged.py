"""Everything that was ever forged, against the API with our own issuer: also with its real key."""

from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from domain.roles import Role
from service import signing_key
from tests.api.documents import refused
from tests.api.test_tokens import FORGED
from tests.support.issuer import LocalIssuer
from tests.support.own_issuer import OwnIssuer


@dataclass
class OwnKeys(LocalIssuer):
    """A forger who has our signing key, and signs what we never would."""

    kid: str = ""
    user_id: str = ""

    def claims(self, **more: Any) -> dict[str, Any]:
        person = {"sub": self.user_id, "client_id": "console", "roles": ["operator"]}
        return super().claims(**{**person, **more})

    def sign(self, claims: Any, header: Any = None, key: Any = None) -> str:
        named = {"kid": self.kid, **(header or {})}
        return super().sign(claims, named, key)


@pytest.fixture(scope="module")
async def forger(own: OwnIssuer) -> OwnKeys:
    real = await signing_key.signing(own.realm)
    who = await own.somebody(Role.OPERATOR)
    forger = OwnKeys(url=own.url, kid=real.id, user_id=who.id)
    ours = ECKey.import_key(real.private)
    forger.keys = {real.id: ours, "ec": ours}
    forger.keys |= {"rsa": RSAKey.generate_key(2048), "ed": OKPKey.generate_key("Ed25519")}
    forger.keys |= {"short": forger.keys["rsa"], "enc": forger.keys["rsa"]}
    forger.keys["shared"] = OctKey.generate_key(256)
    for name, curve in (("p521", "P-521"), ("secp256k1", "secp256k1")):
        forger.keys[name] = ECKey.generate_key(curve)
    for name in ("stranger", "leaked", "wrapping"):
        forger.keys[name] = ECKey.generate_key("P-256")
    return forger


async def test_what_the_forger_signs_like_we_do_is_believed(
    closed: httpx2.AsyncClient, forger: OwnKeys
) -> None:
    """So the test below can fail."""
    answer = await closed.get("/auth/permissions", headers=forger.bearer())
    assert answer.status_code == 200, answer.text
    assert answer.json()["caller"] == f"own/{forger.user_id}"


@pytest.mark.parametrize("what", FORGED)
async def test_a_forged_token_opens_nothing(
    closed: httpx2.AsyncClient, forger: OwnKeys, what: str
) -> None:
    _, make = FORGED[what]
    shown = b"Bearer " + make(forger).encode("latin-1")
    answer = await closed.get("/auth/permissions", headers=[(b"Authorization", shown)])
    refused(answer, 401, "unauthenticated")
