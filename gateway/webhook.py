"""Webhooks of a PG, signed as the Standard Webhooks specification 1.0.0 says."""

from collections.abc import Mapping
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from domain.errors import SignatureInvalid


def verify(secret: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, Any]:
    """The webhook's body, if its signature and time (± 5 min) hold; else `SignatureInvalid`."""
    try:
        verified: Mapping[str, Any] = Webhook(secret).verify(body.decode(), dict(headers))
    except (WebhookVerificationError, ValueError) as error:
        raise SignatureInvalid("The webhook's signature, id or time does not hold.") from error
    return verified
