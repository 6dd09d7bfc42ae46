"""The product's own processes, as in production: tokens are asked for, everything is sealed."""

import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from dev import services
from dev.process import Server
from dev.stack import Stack

LADDER = (timedelta(seconds=1), timedelta(hours=1))
"""The first retry is to be seen, the second not to come before the end."""
WEBHOOK_SECRET = "GATEWAY_WEBHOOK_SECRET"


@dataclass(frozen=True)
class Ports:
    """Where our own processes listen, on the loopback interface."""

    api: int
    auth: int

    @property
    def issuer(self) -> str:
        """The address of our own issuer."""
        return f"http://127.0.0.1:{self.auth}"


def fresh_secrets(name: str) -> dict[str, str]:
    """Keys and secrets that nobody else knows, by setting; `name` tells them from others."""
    return {
        "PAYLOAD_KEYS": f"{name}:{_chance()}",
        "API_KEY_SECRETS": f"{name}:{_chance()}",
        "CURSOR_SECRET": _chance(),
        WEBHOOK_SECRET: f"whsec_{_chance()}",
    }


def _chance() -> str:
    return b64encode(secrets.token_bytes(32)).decode()


def in_front(new: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with new secrets in use, and those before them still believed."""
    return {**environment, **{name: f"{each} {environment[name]}" for name, each in new.items()}}


def environment(stack: Stack, ports: Ports, own: Mapping[str, str]) -> dict[str, str]:
    """What production asks for. On the loopback interface it asks for no TLS."""
    days = [step / timedelta(days=1) for step in LADDER]
    return {
        **services.environment(stack, billing_environment="production", dunning_ladder_days=days),
        **services.believing(ports.issuer),
        **own,
    }


def start(
    stack: Stack, ports: Ports, child_environment: Mapping[str, str], generation: int
) -> list[Server]:
    """The issuer, the API and a worker; each generation has logs of its own."""
    return [
        services.start_auth(stack, ports.auth, child_environment, f"auth-{generation}"),
        services.start_api(stack, ports.api, child_environment, f"api-{generation}"),
        services.start_worker(stack, f"worker-{generation}", child_environment),
    ]
