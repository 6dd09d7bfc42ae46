"""`billing plan`: price lists, and what they said when."""

import orjson

from tests.api.settling import plan
from tests.cli.conftest import Command
from tests.support.billing import Billing


async def test_the_versions_of_a_price_list_are_listed_and_shown(
    command: Command, billing: Billing
) -> None:
    code = await plan(billing, flatFee=5_000)

    listed = await command("plan", "list", "--code", code)
    shown = await command("plan", "show", code)
    document = await command("plan", "show", code, "--json")

    [row] = listed.stdout.splitlines()[1:]
    expected = [code, "1", "2020-01-01", "00:00:00Z", "no", "5,000", "KRW"]
    assert row.split()[:7] == expected
    assert row.endswith("API_CALL PER_UNIT")
    assert f"code  {code}\nversions\n" in shown.stdout
    assert shown.stdout.splitlines()[-1].split()[:2] == ["1", "2020-01-01"]
    assert orjson.loads(document.stdout)["versions"][0]["flatFee"] == 5_000
