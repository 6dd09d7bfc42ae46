"""What every function of our own issuer needs."""

from dataclasses import dataclass
from datetime import timedelta

from domain.audit import Actor, ActorType
from store.database import Database
from store.key_ring import KeyRing

OURSELVES = Actor(ActorType.SYSTEM, "auth")
"""Who locks an account, and makes a key when one is due."""


@dataclass(frozen=True)
class Realm:
    """The people who log in here, in the words of such issuers. `alias`: how our API calls it.
    `session_length`: from the log-in to its end, however often it is refreshed."""

    database: Database
    keys: KeyRing
    alias: str = "own"
    session_length: timedelta = timedelta(days=30)
    key_age: timedelta = timedelta(days=90)
