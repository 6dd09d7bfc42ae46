"""Webhooks of a PG, signed as the Standard Webhooks specification 1.0.0 says."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from domain.errors import SignatureInvalid


def verify(secrets: Sequence[str], body: bytes, headers: Mapping[str, str]) -> Mapping[str, Any]:
    """The webhook's body, if its signature under one of the secrets and its time (± 5 min) hold;
    else `SignatureInvalid`."""
    for secret in secrets:
        with suppress(WebhookVerificationError, ValueError):
            verified: Mapping[str, Any] = Webhook(secret).verify(body.decode(), dict(headers))
            return verified
    raise SignatureInvalid("The webhook's signature, id or time does not hold.")
