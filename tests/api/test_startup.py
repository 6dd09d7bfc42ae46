"""Where the API refuses to start, it says why in one sentence and leaves with exit code 1."""

import asyncio
import sys
from pathlib import Path

import pytest

from api.app import create_app
from dev import process
from runtime.settings import ConfigurationError, Settings
from tests.support.conditions import patience


async def start(directory: Path, **settings: str) -> tuple[int | None, str, str]:
    """Exit code, output and errors of `billing api` with these settings and no others."""
    ours = {"BILLING_ENVIRONMENT", "API_HOST", "API_PORT", "TIME_SCALE", "LOG_LEVEL"}
    inherited = process.python_environment()
    environment = {name: value for name, value in inherited.items() if name not in ours}
    # An endpoints file of a running `billing dev` says nothing here.
    environment["BILLING_ENDPOINTS"] = str(directory / "none.env")
    api = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "api"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, **settings},
    )
    try:
        async with patience():
            output, errors = await api.communicate()
    finally:
        if api.returncode is None:
            api.kill()
            await api.wait()
    return api.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "set BILLING_ENVIRONMENT=dev"),
        ({"BILLING_ENVIRONMENT": "dev", "API_HOST": "0.0.0.0"}, "unset API_HOST"),
        ({"BILLING_ENVIRONMENT": "dev", "API_PORT": "99999"}, "API_PORT"),
    ],
    ids=["nothing", "all-addresses", "no-port"],
)
async def test_it_refuses_to_start_with_one_sentence(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    code, output, errors = await start(tmp_path, **settings)

    assert (code, output) == (1, "")
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("billing: ")
    assert words in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "settings",
    [
        {"billing_environment": "production"},
        {"billing_environment": "production", "api_host": "127.0.0.1"},
        {"billing_environment": "dev", "api_host": "::"},
        {"billing_environment": "dev", "api_host": ""},
        {"billing_environment": "dev", "api_host": "localhost.example"},
        {"billing_environment": "dev", "api_host": "192.168.0.1"},
    ],
)
def test_no_application_is_made_where_a_stranger_could_reach_it(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        create_app(Settings.model_validate(settings))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_dev_may_start(host: str) -> None:
    create_app(Settings.model_validate({"billing_environment": "dev", "api_host": host}))
