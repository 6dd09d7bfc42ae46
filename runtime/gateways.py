"""The payment gateways that this installation talks to."""

from collections.abc import Mapping

from domain.waits import Waits
from gateway.client import GatewayProfile, PaymentGateway
from gateway.guard import GuardedGateway
from gateway.http import HttpGateway
from runtime.settings import Settings


def profiles(settings: Settings) -> tuple[GatewayProfile, ...]:
    """One per PG; today the one at `GATEWAY_URL`."""
    return (
        GatewayProfile(
            name="simulator",
            url=settings.gateway_url,
            read_timeout_seconds=settings.gateway_read_timeout_seconds,
        ),
    )


def connect(settings: Settings) -> Mapping[str, PaymentGateway]:
    """Every gateway behind a guard of its own, by name."""
    return {
        profile.name: GuardedGateway(HttpGateway(profile), profile)
        for profile in profiles(settings)
    }


def waits(settings: Settings) -> Waits:
    """The waits of every workflow that is started by this process."""
    return Waits(read_timeout=settings.gateway_read_timeout).scaled(settings.time_scale)
