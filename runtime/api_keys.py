"""With what API keys are kept, as the settings say."""

from domain.api_key import Mode
from runtime.settings import Settings
from service.key import KeyRing


def ring(settings: Settings) -> KeyRing:
    """Production gives out keys that are no tests, and believes no others."""
    mode = Mode.LIVE if settings.billing_environment == "production" else Mode.TEST
    return KeyRing(settings.named_api_key_secrets, mode)
