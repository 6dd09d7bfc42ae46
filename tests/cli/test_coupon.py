"""`billing coupon`: what takes something off an order, and how often it has."""

import csv
import io

from tests.cli.conftest import Command
from tests.support.billing import Billing


async def test_coupons_are_listed_with_their_counts(command: Command, billing: Billing) -> None:
    code = await billing.put_coupon(kind="FIXED", amounts={"KRW": 1_500}, totalLimit=7)

    listed = await command("coupon", "list", "--limit", "10000")
    as_csv = await command("coupon", "list", "--csv")

    [row] = [line for line in listed.stdout.splitlines() if line.startswith(code)]
    assert row.split()[1:5] == ["FIXED", "-", "1,500", "KRW"]
    [document] = [
        each for each in csv.DictReader(io.StringIO(as_csv.stdout)) if each["code"] == code
    ]
    assert (document["amounts"], document["totalLimit"]) == ('{"KRW":1500}', "7")
