"""API keys: their form, who holds one, and whether it is believed.

`dbk_live_` and `dbk_test_`, then the id, which may be shown, then 32 characters of chance and the
CRC-32 of all before it: what was mistyped, and what a scanner makes up, is seen without a look at
the database. Of a key only an HMAC is kept.
"""

import hashlib
import hmac
import re
import string
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.access import Access
from domain.errors import InvalidRequest
from domain.roles import Role, TokenScope

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 8
CHANCE_LENGTH = 32
_CHECK_LENGTH = 6

KEY_ID = re.compile(rf"^[0-9A-Za-z]{{{ID_LENGTH}}}$")
KEY = re.compile(
    rf"^dbk_(?P<mode>live|test)_(?P<id>[0-9A-Za-z]{{{ID_LENGTH}}})_"
    rf"[0-9A-Za-z]{{{CHANCE_LENGTH}}}(?P<check>[0-9A-Za-z]{{{_CHECK_LENGTH}}})$"
)

OVERLAP = timedelta(days=7)
"""How long a key is believed after another one took its place."""
LONGEST_OVERLAP = timedelta(days=90)
HOLDERS = frozenset({Role.CUSTOMER, Role.SERVICE})
"""Whose keys there are. Decisions are taken by persons, and a key is none."""


class Mode(StrEnum):
    """Of what kind of installation a key is."""

    LIVE = "live"
    TEST = "test"


@dataclass(frozen=True)
class ApiKey:
    """`family`: the id of the first of those that took each other's place. `customer_id`: whose
    things it is for; empty for a service, which acts for everybody. `scopes`: for what of all that
    its role may do; None without such a limit."""

    id: str
    family: str
    name: str
    role: Role
    customer_id: str
    scopes: frozenset[TokenScope] | None
    networks: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    @property
    def access(self) -> Access:
        """The same for each key of a family: idempotency keys outlive a rotation."""
        return Access(
            f"key/{self.family}",
            frozenset({self.role}),
            self.customer_id,
            scopes=self.scopes,
            token_id=self.id,
        )

    def is_live(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class Digest:
    """What is kept of a key, and under which secret it was made."""

    secret: str
    value: bytes


@dataclass(frozen=True)
class Presented:
    """Text that has the form of a key, and its check."""

    text: str
    mode: Mode
    id: str

    def is_of(self, digest: Digest, secrets: Mapping[str, str]) -> bool:
        """Whether this is the key that was kept; never for a secret that is not there any more."""
        secret = secrets.get(digest.secret)
        return secret is not None and hmac.compare_digest(_mac(secret, self.text), digest.value)


def text_of(mode: Mode, id_: str, chance: str) -> str:
    """A key, as its holder gets it."""
    body = f"dbk_{mode}_{id_}_{chance}"
    return body + _check(body)


def read(text: str) -> Presented | None:
    """None for what is no key."""
    found = KEY.fullmatch(text)
    if found is None or _check(text[:-_CHECK_LENGTH]) != found["check"]:
        return None
    return Presented(text, Mode(found["mode"]), found["id"])


def digest(text: str, secrets: Mapping[str, str]) -> Digest:
    """Under the first secret."""
    name, secret = next(iter(secrets.items()))
    return Digest(name, _mac(secret, text))


def check_holder(role: Role, customer_id: str) -> None:
    """Raises `InvalidRequest` where a key could not have this holder."""
    if role not in HOLDERS:
        raise InvalidRequest(f"role: a key is for a {' or a '.join(sorted(HOLDERS))}.")
    if (role is Role.CUSTOMER) != bool(customer_id):
        raise InvalidRequest("customerId: is named for the role customer, and for no other.")


def overlap_end(key: ApiKey, now: datetime, overlap: timedelta) -> datetime:
    """Until when the key that is replaced is believed: no longer than before."""
    end = now + overlap
    return end if key.expires_at is None else min(end, key.expires_at)


def _check(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def _mac(secret: str, text: str) -> bytes:
    return hmac.digest(secret.encode(), text.encode(), hashlib.sha256)
