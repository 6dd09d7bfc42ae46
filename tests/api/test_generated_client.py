"""A client that nobody wrote: generated from the OpenAPI document, it pays an order."""

import asyncio
import json
import ssl
import sys
from pathlib import Path

import pytest

from api.app import create_app
from dev import process, services
from dev.stack import Stack
from runtime.settings import Settings
from tests.support import programs
from tests.support.billing import Billing

SOURCES = Path(__file__).parents[1] / "support" / "client"
INSTALLED = Path(__file__).parents[2] / ".venv" / "generated-client"
UNTESTED = "NOT TESTED by a generated client"


async def generator() -> Path:
    """A Python that has openapi-python-client, which does not go with what we need ourselves."""
    uv = Path(sys.executable).with_name("uv")
    made = await programs.run(
        uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, INSTALLED
    )
    if made.returncode == 0:
        requirements = SOURCES / "requirements.txt"
        python = INSTALLED / "bin" / "python"
        command = [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes"]
        if ssl.create_default_context().get_ca_certs():
            command.append("--system-certs")  # as `dev.install` does: one may be a proxy's
        made = await programs.run(*command, "-r", requirements)
    if made.returncode != 0:
        pytest.skip(f"{UNTESTED}: it could not be installed: {made.stderr[-500:]}")
    return python


async def test_a_generated_client_pays_an_order(
    stack: Stack, settings: Settings, billing: Billing, tmp_path: Path
) -> None:
    python = await generator()
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(create_app(settings).openapi()))

    command = [python, "-m", "openapi_python_client", "generate", "--meta", "none"]
    command += ["--path", document, "--output-path", tmp_path / "generated"]
    command += ["--config", SOURCES / "config.yml"]
    generated = await programs.run(*command, "--fail-on-warning")
    assert generated.returncode == 0, generated.stdout + generated.stderr

    port = process.free_port()
    api = services.start_api(stack, port, services.environment(stack))
    try:
        await asyncio.to_thread(process.wait_until_ready, [api])
        url = f"http://127.0.0.1:{port}"
        paid = await programs.run(python, SOURCES / "pay.py", tmp_path, url, billing.customer_id)
    finally:
        await asyncio.to_thread(process.stop, [api])

    assert paid.returncode == 0, paid.stdout + paid.stderr
    order_id, paid_order_id, amount, status = paid.stdout.split()
    assert (paid_order_id, amount, status) == (order_id, "2000", "COMPLETED")
