"""How a command was asked to go: what stood before it on its line."""

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Way:
    """`command` is what was typed behind these options. `reason`: why past the API."""

    command: str = ""
    direct: bool = False
    reason: str | None = None
    token_file: Path | None = None


_STRAIGHT = Way()
WAY: ContextVar[Way] = ContextVar("way", default=_STRAIGHT)
