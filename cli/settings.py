"""What a person's own machine needs to know to ask an installation: no address of any server of it
but that of its API."""

import os
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.settings import ENDPOINTS_FILE


class ClientSettings(BaseSettings):
    """Names of the environment variables are the field names in capitals."""

    model_config = SettingsConfigDict(env_file=ENDPOINTS_FILE, frozen=True, extra="ignore")

    billing_api_url: str = "http://127.0.0.1:8080"
    billing_token_file: Path | None = None


def state_directory() -> Path:
    """Where what a person has logged in with is kept, as XDG wants it."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "billing"
