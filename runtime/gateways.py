"""The payment gateways that this installation talks to."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from domain.waits import Waits
from gateway.book import GatewayBook, HttpBook
from gateway.client import GatewayProfile
from gateway.guard import GuardedGateway
from gateway.http import HttpGateway
from runtime.settings import Settings
from workflows import policies


def profiles(settings: Settings) -> tuple[GatewayProfile, ...]:
    """One per PG: the one at `GATEWAY_URL`, once with one call and once with two."""
    one_call = GatewayProfile(
        name="simulator",
        url=settings.gateway_url,
        read_timeout_seconds=settings.gateway_read_timeout_seconds,
    )
    return one_call, replace(one_call, name="simulator-two-calls", two_calls=True)


def longest_call(settings: Settings) -> timedelta:
    """How long any call to any gateway may take, with all that comes before and after it."""
    slowest = max(each.read_timeout_seconds for each in profiles(settings))
    return policies.longest_gateway_call(timedelta(seconds=slowest))


def connect(settings: Settings) -> Mapping[str, GuardedGateway]:
    """Every gateway behind a guard of its own, by name."""
    return {
        profile.name: GuardedGateway(HttpGateway(profile), profile)
        for profile in profiles(settings)
    }


def books(settings: Settings) -> tuple[GatewayBook, ...]:
    """The books that PGs show of themselves; both profiles are one PG with one book."""
    return (HttpBook(settings.gateway_url, tuple(each.name for each in profiles(settings))),)


def waits(settings: Settings) -> Waits:
    """The waits of every workflow that is started by this process."""
    return Waits(
        key_window=settings.gateway_key_window, read_timeout=settings.gateway_read_timeout
    ).scaled(settings.time_scale)
