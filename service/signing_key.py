"""The keys that our own issuer signs tokens with: made, published before their time, withdrawn."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from domain.access import SYSTEM
from domain.audit import Action, Actor, Entry, Noun
from domain.signing_key import (
    PUBLISHED_BEFORE,
    SigningKey,
    Standing,
    current,
    is_due,
    published,
    standings,
)
from service.realm import OURSELVES, Realm
from store import audit, clock, signing_key
from store.database import Transaction
from store.identifier import new_id

_BYTES = 32
"""Of each coordinate of P-256."""


@dataclass(frozen=True)
class Signing:
    """`private` is in PEM."""

    id: str
    private: str


async def signing(realm: Realm) -> Signing:
    """What to sign with now; the first one is made when somebody needs it."""
    async with realm.database.read(SYSTEM) as tx:
        id_ = current(await signing_key.everything(tx), await clock.now(tx))
        if id_ is not None:
            return Signing(id_, await signing_key.private(tx, id_, realm.keys))
    await ensure(realm)
    return await signing(realm)


async def to_publish(realm: Realm) -> list[Mapping[str, str]]:
    """As a JSON Web Key Set has them; never none."""
    async with realm.database.read(SYSTEM) as tx:
        found = published(await signing_key.everything(tx), await clock.now(tx))
    if found:
        return [key.public for key in found]
    await ensure(realm)
    return await to_publish(realm)


async def standing(realm: Realm) -> list[tuple[SigningKey, Standing]]:
    """Every key, oldest first."""
    async with realm.database.read(SYSTEM) as tx:
        every = await signing_key.everything(tx)
        known = standings(every, await clock.now(tx))
    return [(key, known[key.id]) for key in every]


async def ensure(realm: Realm) -> bool:
    """Make a key when one is due; of several processes one does it. Whether this one did."""
    async with realm.database.begin(SYSTEM) as tx:
        await signing_key.lock(tx)
        every, now = await signing_key.everything(tx), await clock.now(tx)
        if not is_due(every, now, realm.key_age):
            return False
        # Nothing was signed with another key before the first: nobody has to learn of it in time.
        wait = PUBLISHED_BEFORE if current(every, now) else timedelta(0)
        await _add(tx, realm, OURSELVES, now + wait)
        return True


async def rotate(realm: Realm, by: Actor) -> datetime:
    """Publish another key; returns from when on it signs. What was signed stays believed."""
    async with realm.database.begin(SYSTEM) as tx:
        await signing_key.lock(tx)
        now = await clock.now(tx)
        wait = PUBLISHED_BEFORE if current(await signing_key.everything(tx), now) else timedelta(0)
        await _add(tx, realm, by, now + wait)
        return now + wait


async def replace(realm: Realm, by: Actor) -> list[str]:
    """For the day when a key has leaked: all are withdrawn and another one signs at once. Returns
    those withdrawn."""
    async with realm.database.begin(SYSTEM) as tx:
        await signing_key.lock(tx)
        leaked = [key.id for key in await signing_key.everything(tx) if key.withdrawn_at is None]
        await signing_key.withdraw(tx, leaked)
        gone = [Entry(by, Action.SIGNING_KEY_WITHDRAWN, Noun.SIGNING_KEY, id_) for id_ in leaked]
        await audit.append(tx, *gone)
        await _add(tx, realm, by, await clock.now(tx))
        return leaked


async def _add(tx: Transaction, realm: Realm, by: Actor, signs_from: datetime) -> None:
    id_ = new_id()
    key = generate_private_key(SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    point = key.public_key().public_numbers()
    public = {
        "kty": "EC",
        "crv": "P-256",
        "x": _encoded(point.x),
        "y": _encoded(point.y),
        "use": "sig",
        "alg": "ES256",
        "kid": id_,
    }
    await signing_key.add(tx, id_, public, pem, signs_from, realm.keys)
    added = Entry(
        by,
        Action.SIGNING_KEY_ADDED,
        Noun.SIGNING_KEY,
        id_,
        after={"signsFrom": signs_from.isoformat()},
    )
    await audit.append(tx, added)


def _encoded(coordinate: int) -> str:
    return urlsafe_b64encode(coordinate.to_bytes(_BYTES)).rstrip(b"=").decode()
