"""The key ring of an installation, as its settings say."""

from pathlib import Path

from runtime.settings import ConfigurationError, Settings
from store import key_ring
from store.key_ring import NO_KEYS, KeyRing


def ring(settings: Settings) -> KeyRing:
    """Empty where no keys are set. Raises `ConfigurationError`."""
    text, source = _text(settings)
    if text is None:
        return NO_KEYS
    try:
        return key_ring.parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{source}: {error}.") from None


def missing(settings: Settings) -> str | None:
    """What must be said before anything starts in production, as a sentence; None if nothing."""
    if _text(settings)[0] is not None:
        return None
    return (
        "Nothing may be kept in clear in production: set PAYLOAD_KEYS or PAYLOAD_KEYS_FILE"
        ' to a key such as "2026-11:$(openssl rand -base64 32)".'
    )


def _text(settings: Settings) -> tuple[str | None, str]:
    path, inline = settings.payload_keys_file, settings.payload_keys
    if path is None:
        return (None if inline is None else inline.get_secret_value()), "PAYLOAD_KEYS"
    if inline is not None:
        raise ConfigurationError("PAYLOAD_KEYS and PAYLOAD_KEYS_FILE are both set: unset one.")
    return _content(path), f"PAYLOAD_KEYS_FILE ({path})"


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"PAYLOAD_KEYS_FILE: {path} cannot be read: {error}.") from None
