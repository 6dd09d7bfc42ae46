"""Our own issuer, put together as its settings say."""

from datetime import timedelta

from runtime import keys
from runtime.settings import Settings
from service.realm import Realm
from store.database import Database


def of(settings: Settings, database: Database) -> Realm:
    """With the name that `OIDC_ISSUERS` has for it."""
    return Realm(
        database,
        keys.ring(settings),
        alias=settings.own_alias or "own",
        session_length=timedelta(days=settings.auth_session_days),
        key_age=timedelta(days=settings.auth_key_days),
    )
