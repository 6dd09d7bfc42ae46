"""What a person's own machine needs to know to ask an installation: no address of any server of it
but that of its API."""

import os
import pwd
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, HttpUrl, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.settings import ENDPOINTS_FILE, Settings

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


def os_user() -> str:
    """Whose process this is, in the characters that names have here; what the environment says
    about it could be anything."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:64]


def workflow_link(workflow_id: str) -> str | None:
    """The page of a workflow in the Temporal UI, where the settings say where that is."""
    settings = Settings()
    if not settings.temporal_ui_url:
        return None
    pages = f"{settings.temporal_ui_url}/namespaces/{settings.temporal_namespace}/workflows"
    return f"{pages}/{quote(workflow_id, safe='')}"
