"""`billing doctor`: a line for each finding, what to do, and an exit code."""

from collections.abc import AsyncIterator

import orjson
import pytest
from typer.testing import Result

from runtime import temporal
from runtime.settings import Settings
from tests.cli.conftest import Command
from tests.support.cables import silence
from tests.support.conditions import eventually
from tests.support.databases import execute
from tests.support.installations import installation, told


@pytest.fixture
async def alone(settings: Settings) -> AsyncIterator[Settings]:
    async with installation(settings) as own:
        await temporal.connect_when_ready(own)
        yield own


async def test_it_asks_no_api_and_ends_with_0_unless_something_is_wrong(
    command: Command, alone: Settings
) -> None:
    async def asked(*more: str) -> Result:
        return await command("doctor", *more, **told(alone), BILLING_API_URL="http://127.0.0.1:9")

    async def is_well() -> bool:
        """A namespace is known everywhere a moment after it was made."""
        return (await asked()).exit_code == 0

    await eventually(is_well)
    well = await asked()
    await execute(alone.database_owner_url, "REVOKE INSERT ON orders FROM billing_app")
    ill = await asked()
    document = orjson.loads((await asked("--json")).stdout)

    # Nobody has made the partitions of the usage yet: no worker ran.
    assert well.stdout.splitlines()[-1].endswith("findings: 0 wrong, 1 warnings.")
    assert ill.exit_code == 1
    assert "wrong   grants: billing_app lacks INSERT ON orders." in ill.stdout.splitlines()
    assert "GRANT INSERT ON orders TO billing_app;" in ill.stdout
    assert (document["wrong"], document["warnings"]) == (1, 1)
    [wrong] = [each for each in document["findings"] if each["verdict"] == "wrong"]
    assert wrong.keys() == {"verdict", "about", "says", "remedy"}


async def test_who_is_silent_is_named_while_it_is_waited_for_and_afterwards(
    command: Command, alone: Settings
) -> None:
    async with silence() as silent:
        ran = await command("doctor", **{**told(alone), "TEMPORAL_ADDRESS": silent})

    assert ran.exit_code == 1
    assert "still asking: TEMPORAL_ADDRESS ..." in ran.stderr
    assert "TEMPORAL_ADDRESS: What it leads to cannot be used: no answer within" in ran.stdout
    assert "ok      topics: All" in ran.stdout
