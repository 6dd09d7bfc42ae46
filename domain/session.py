"""A log-in and the tokens that keep it alive: each is used once, and the next one takes its place.

Whoever shows one that was used has missed the answer, a moment ago, or has stolen it: who of two is
the thief cannot be told, so both lose the session.
"""

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

GRACE = timedelta(seconds=10)
"""How long after its use the same token is answered again, with the same successor."""
MAX_TOKEN = 100
"""Characters of a refresh token; ours have 43."""


@dataclass(frozen=True)
class Session:
    """`seed` is what successors are made with, beside the token before them."""

    id: str
    user_id: str
    client_id: str
    seed: str
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True)
class RefreshToken:
    """The nth of its session, as it is kept: by its digest alone."""

    session_id: str
    generation: int
    used_at: datetime | None


class Shown(StrEnum):
    """What it means that a refresh token is shown."""

    FIRST = "first"
    AGAIN = "again"
    STOLEN = "stolen"
    OVER = "over"


def shown(session: Session, token: RefreshToken, client_id: str, now: datetime) -> Shown:
    """What becomes of it."""
    if session.revoked_at is not None or session.expires_at <= now:
        return Shown.OVER
    if client_id != session.client_id:
        return Shown.STOLEN
    if token.used_at is None:
        return Shown.FIRST
    return Shown.AGAIN if now - token.used_at <= GRACE else Shown.STOLEN


def successor(token: str, seed: str) -> str:
    """The next token: whoever shows the same one gets the same, and nobody has to keep it. It takes
    both, so neither a token nor a copy of the tables is enough to make it."""
    digest = hmac.digest(token.encode(), seed.encode(), "sha256")
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def digest(token: str) -> bytes:
    """What is kept of a token: it has 256 bits of chance, so nothing slower is needed."""
    return sha256(token.encode()).digest()
