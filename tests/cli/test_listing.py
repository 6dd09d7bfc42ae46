"""Lists: columns for a person, documents for a program, as many as were asked for."""

import asyncio
import csv
import io
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from cli.main import INTERRUPTED
from cli.refused import Refused
from dev import process
from tests.cli.conftest import Command
from tests.support.conditions import eventually
from tests.support.local_server import Request, Response, local_server

LIST = ("refund", "list")


def refund(n: int, **more: Any) -> dict[str, Any]:
    """A document of the API, and a field that a newer one has."""
    return {
        "id": f"019a9f3e-7c1c-7d2e-9b1a-{n:012}",
        "paymentId": f"019a9f3e-7c1c-7d2e-9b1b-{n:012}",
        "customerId": "acme-corp",
        "currency": "KRW",
        "amount": n,
        "cardAmount": n,
        "walletAmount": 0,
        "pointsAmount": 0,
        "reason": "broken",
        "status": "COMPLETED",
        "failureCode": None,
        "failureMessage": None,
        "gatewayCode": None,
        "gatewayReference": None,
        "reviewReason": None,
        "workflowId": f"refund/{n}",
        "createdAt": "2026-05-01T09:30:00.5Z",
        "updatedAt": "2026-05-01T09:30:00Z",
        "newer": {"a": n},
        **more,
    }


@dataclass
class Pages:
    """An API that lists these, as many at a time as it is asked for."""

    items: Sequence[dict[str, Any]]
    asked: list[Request] = field(default_factory=list)
    refusals: list[Response] = field(default_factory=list)

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        if self.refusals:
            return self.refusals.pop()
        begin = int(request.query.get("cursor", 0))
        end = begin + int(request.query["limit"])
        more = end < len(self.items)
        following = str(end) if more else None
        page = self.items[begin:end]
        return Response(200, {"items": page, "nextCursor": following, "hasMore": more})


async def shown(command: Command, items: Sequence[dict[str, Any]], *words: str) -> Any:
    async with local_server(Pages(items)) as url:
        return await command(*LIST, *words, BILLING_API_URL=url)


async def test_columns_stand_below_their_names_and_numbers_end_at_one_place(
    command: Command,
) -> None:
    others = refund(7, failureCode="거절", reason="[red]two\nlines\x1b[2J")

    told = await shown(command, [refund(1_234_567, failureCode="declined"), others])

    head, first, second = told.stdout.splitlines()
    assert head.split()[:4] == ["id", "status", "amount", "customerId"]
    assert "1,234,567 KRW  acme-corp" in first
    assert second.index("7 KRW  acme-corp") == first.index("7 KRW  acme-corp")
    assert "  2026-05-01 09:30:00Z  declined     broken" in first
    assert second.endswith("  거절         [red]two lines[2J"), "a line of columns, and no command"
    assert told.stderr == ""


async def test_what_is_not_there_is_said_beside_an_empty_list(command: Command) -> None:
    told = await shown(command, [])
    as_json = await shown(command, [], "--json")
    as_csv = await shown(command, [], "--csv")

    assert (told.exit_code, told.stdout, told.stderr) == (0, "", "No refunds.\n")
    assert (as_json.stdout, as_json.stderr) == ("[]\n", "")
    assert as_csv.stdout.startswith("id,paymentId,")
    assert as_csv.stdout.count("\n") == 1


async def test_a_program_gets_the_documents_as_the_api_said_them(command: Command) -> None:
    items = [refund(1), refund(2)]

    told = await shown(command, items, "--json")

    assert orjson.loads(told.stdout) == items
    assert told.stdout.count("\n") == 1
    assert told.stderr == ""


async def test_csv_has_every_field_and_survives_what_others_wrote(command: Command) -> None:
    items = [refund(1, reason='a "quote",\nand a line'), refund(2, reason="=cmd|'/C calc'!A0")]

    told = await shown(command, items, "--csv")

    first, second = csv.DictReader(io.StringIO(told.stdout))
    assert second["reason"] == "'=cmd|'/C calc'!A0", "no formula of a spreadsheet"
    assert first["reason"] == 'a "quote",\nand a line'
    assert (first["amount"], first["failureCode"]) == ("1", "")
    assert (second["id"], second["createdAt"]) == (items[1]["id"], "2026-05-01T09:30:00.5Z")


async def test_pages_are_walked_until_there_are_as_many_as_wanted(command: Command) -> None:
    pages = Pages([refund(n) for n in range(450)])
    async with local_server(pages) as url:
        some = await command(*LIST, "--json", "--limit", "250", BILLING_API_URL=url)
        sizes = [request.query["limit"] for request in pages.asked]
        every = await command(*LIST, "--json", BILLING_API_URL=url)
        person = await command(*LIST, BILLING_API_URL=url)

    assert [each["amount"] for each in orjson.loads(some.stdout)] == [*range(250)]
    assert sizes == ["200", "50"]
    assert some.stderr == "There are more than these 250: see --limit.\n"
    assert len(orjson.loads(every.stdout)) == 450
    assert every.stderr == ""
    assert len(person.stdout.splitlines()) == 51
    assert person.stderr == "There are more than these 50: see --limit.\n"


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("amount", [2, 9, 10]),
        ("-amount", [10, 9, 2]),
        ("gatewayReference", [10, 2, 9]),
        ("-gatewayReference", [2, 10, 9]),
        ("createdAt", [9, 10, 2]),
    ],
)
async def test_a_list_is_sorted_by_any_field(
    command: Command, by: str, order: Sequence[int]
) -> None:
    """Numbers and moments by what they are, not by how they are written; what is not there is
    last."""
    items = [
        refund(10, gatewayReference="100", createdAt="2026-05-01T00:00:00.5Z"),
        refund(9, gatewayReference=None, createdAt="2026-05-01T00:00:00Z"),
        refund(2, gatewayReference="1000", createdAt="2026-05-01T00:00:01+00:00"),
    ]

    told = await shown(command, items, "--json", "--sort", by)

    assert [each["amount"] for each in orjson.loads(told.stdout)] == order


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--json", "--csv"), "--json, --csv or --watch: one of them."),
        (("--json", "--watch"), "--json, --csv or --watch: one of them."),
        (("--sort", "colour"), "There is no colour here: id, paymentId, customerId, currency"),
    ],
)
async def test_what_means_nothing_is_refused_before_anybody_is_asked(
    command: Command, words: tuple[str, ...], sentence: str
) -> None:
    pages = Pages([])
    async with local_server(pages) as url:
        told = await command(*LIST, *words, BILLING_API_URL=url)

    assert isinstance(told.exception, Refused)
    assert str(told.exception).startswith(sentence)
    assert pages.asked == []


async def test_who_watches_sees_changes_and_outlasts_an_outage(tmp_path: Path) -> None:
    pages = Pages([refund(1)])
    async with local_server(pages) as url:
        watching = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", *LIST, "--watch"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=process.python_environment() | {"BILLING_API_URL": url, "HOME": str(tmp_path)},
        )

        async def looked(times: int) -> None:
            async def so_often() -> bool:
                return len(pages.asked) >= times

            await eventually(so_often)

        await looked(1)
        pages.refusals.append(Response(500, "down", "text/plain"))
        await looked(2)
        pages.items = [refund(1), refund(22)]
        await looked(4)
        watching.send_signal(signal.SIGINT)
        stdout, stderr = (each.decode() for each in await watching.communicate())

    assert watching.returncode == INTERRUPTED
    assert "1 KRW" in stdout.splitlines()[1]
    assert "22 KRW" in stdout
    assert "answers with status 500: it may not be the API. Looking again ...\n" in stderr
