"""With what API keys are kept, as the settings say."""

from domain.api_key import Mode
from runtime.production import weak_secrets
from runtime.settings import Settings
from service.key import KeyRing


def ring(settings: Settings) -> KeyRing:
    """Production gives out keys that are no tests, and believes no others. What is made under a
    secret that everybody knows is a key of a test, whoever makes it."""
    weak = any(weak_secrets(settings, "API_KEY_SECRETS"))
    live = settings.billing_environment == "production" and not weak
    return KeyRing(settings.named_api_key_secrets, Mode.LIVE if live else Mode.TEST)
