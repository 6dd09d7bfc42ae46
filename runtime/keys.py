"""The key ring of an installation, as its settings say."""

from runtime.settings import ConfigurationError, Settings
from store import key_ring
from store.key_ring import NO_KEYS, KeyRing


def ring(settings: Settings) -> KeyRing:
    """Empty where no keys are set. Raises `ConfigurationError`."""
    if settings.payload_keys is None:
        return NO_KEYS
    try:
        return key_ring.parse(settings.payload_keys.get_secret_value())
    except ValueError as error:
        raise ConfigurationError(f"PAYLOAD_KEYS: {error}.") from None


def missing(settings: Settings) -> str | None:
    """What must be said before anything starts in production, as a sentence; None if nothing."""
    if settings.payload_keys is not None:
        return None
    return (
        "Nothing may be kept in clear in production: set PAYLOAD_KEYS or PAYLOAD_KEYS_FILE"
        ' to a key such as "2026-11:$(openssl rand -base64 32)".'
    )
