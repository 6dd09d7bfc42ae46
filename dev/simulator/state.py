"""The running gateway: its open book, how it was started, and what it forgets when it stops."""

import asyncio
import sqlite3
from dataclasses import dataclass, field
from typing import Literal

from fastapi import Request
from standardwebhooks import Webhook

from dev.simulator.behaviours import Mix, QueuedBehaviour

Outage = Literal["none", "refuse", "hang"]


@dataclass(frozen=True, slots=True)
class Options:
    """How the program was started; delays are divided by `time_scale`, the key window is not."""

    time_scale: float = 1.0
    seed: int = 0
    mix: Mix = field(default_factory=dict)
    key_window_seconds: float = 86_400.0
    signer: Webhook | None = None


@dataclass(slots=True)
class Simulator:
    """Everything the calls share; all of it belongs to the event loop's thread.

    `in_flight` maps a key under way to the fingerprint of its request. `hang_up` is set, and
    replaced, when everybody who waits is to be cut off: at a reset and at the end.
    """

    db: sqlite3.Connection
    options: Options
    webhook_url: str | None = None
    queue: list[QueuedBehaviour] = field(default_factory=list)
    outage: Outage = "none"
    in_flight: dict[str, str] = field(default_factory=dict)
    hang_up: asyncio.Event = field(default_factory=asyncio.Event)
    webhook_due: asyncio.Event = field(default_factory=asyncio.Event)

    def cut_off(self) -> None:
        """Break the connection of everybody who is kept waiting."""
        self.hang_up.set()
        self.hang_up = asyncio.Event()


def simulator_of(request: Request) -> Simulator:
    """The gateway that a request has come to."""
    simulator = request.app.state.simulator
    assert isinstance(simulator, Simulator)
    return simulator
