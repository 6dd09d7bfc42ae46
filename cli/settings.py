"""What a person's own machine needs to know to ask an installation: no address of any server of it
but that of its API."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, HttpUrl, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.settings import ENDPOINTS_FILE

_ADDRESS = TypeAdapter(HttpUrl)


def _address(text: str) -> str:
    """As it was said: a login is kept by it."""
    try:
        _ADDRESS.validate_python(text)
    except ValidationError as error:
        raise ValueError("It is no address such as http://127.0.0.1:8080") from error
    return text


class ClientSettings(BaseSettings):
    """Names of the environment variables are the field names in capitals."""

    model_config = SettingsConfigDict(env_file=ENDPOINTS_FILE, frozen=True, extra="ignore")

    billing_api_url: Annotated[str, AfterValidator(_address)] = "http://127.0.0.1:8080"
    billing_token_file: Path | None = None


def state_directory() -> Path:
    """Where what a person has logged in with is kept, as XDG wants it."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "billing"
