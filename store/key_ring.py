"""Keys that seal what nobody may read: AES-256-GCM, each text bound to what it belongs to."""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_PREFIX = "sealed"


class UnknownKey(Exception):
    """Sealed under a key that this process does not have; with the key it can be opened."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"This was sealed under the key {key_id!r}, which is not in PAYLOAD_KEYS here: put it"
            " back behind the current one; what waits for it goes on by itself."
        )


class Tampered(Exception):
    """What was sealed has changed since, or it stands where it does not belong."""


@dataclass(frozen=True)
class KeyRing:
    """The first key seals, all of them open. Without keys everything stays as it is, in clear."""

    _keys: Mapping[str, AESGCM] = field(default_factory=dict, repr=False)

    @property
    def current(self) -> str | None:
        """The id of the key that seals; None without keys."""
        return next(iter(self._keys), None)

    def seal(self, plain: bytes, belongs_to: bytes) -> bytes:
        """Under the current key."""
        assert self.current is not None, "without keys there is nothing to seal with"
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._keys[self.current].encrypt(nonce, plain, belongs_to)

    def open(self, key_id: str, sealed: bytes, belongs_to: bytes) -> bytes:
        """Raises `UnknownKey` and `Tampered`."""
        if key_id not in self._keys:
            raise UnknownKey(key_id)
        nonce, sealed = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._keys[key_id].decrypt(nonce, sealed, belongs_to)
        except (InvalidTag, ValueError) as error:
            raise Tampered(
                "What was sealed has changed, or stands where it does not belong."
            ) from error

    def seal_text(self, plain: str, belongs_to: str) -> str:
        """As a text that says that it is sealed, and under which key."""
        if self.current is None:
            return plain
        sealed = base64.b64encode(self.seal(plain.encode(), belongs_to.encode()))
        return f"{_PREFIX}:{self.current}:{sealed.decode()}"

    def open_text(self, text: str, belongs_to: str) -> str:
        """What was written before there were keys is returned as it is. Raises `UnknownKey` and
        `Tampered`."""
        if not text.startswith(f"{_PREFIX}:"):
            return text
        key_id, _, encoded = text.removeprefix(f"{_PREFIX}:").partition(":")
        return self.open(key_id, _decoded(encoded), belongs_to.encode()).decode()


NO_KEYS = KeyRing()
"""Of development: everything stays in clear."""


def parse(text: str) -> KeyRing:
    """`id:key` apart by commas or white space, the current one first; a key is 32 bytes in base64.

    Raises `ValueError`, whose text names no key.
    """
    keys: dict[str, AESGCM] = {}
    for number, entry in enumerate(re.split(r"[,\s]+", text.strip()), start=1):
        id_, _, encoded = entry.partition(":")
        if not _ID.fullmatch(id_) or id_ in keys:
            raise ValueError(
                f"key {number} needs an id of its own: up to 32 of A-Z a-z 0-9 . _ -, then a colon"
            )
        keys[id_] = AESGCM(_key(id_, encoded))
    return KeyRing(keys)


def _key(id_: str, encoded: str) -> bytes:
    key = _decoded(encoded)
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key {id_!r} is not {KEY_BYTES} bytes in base64")
    return key


def _decoded(text: str) -> bytes:
    """Empty if it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # binascii's, or of letters that are none
        return b""
