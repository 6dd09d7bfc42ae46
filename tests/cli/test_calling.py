"""How a command reaches the API, what its refusals come to, and `--direct`, past it."""

import asyncio
import base64
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from api.errors import TYPES
from cli import calling
from cli.refused import Refused
from cli.settings import os_user
from dev import process
from tests.api.settling import invoiced, waiting_draft
from tests.cli.conftest import Command
from tests.support.audit import trail
from tests.support.billing import Billing
from tests.support.local_server import Request, Response, local_server

pytestmark = pytest.mark.usefixtures("settlements")

NOBODY = "http://127.0.0.1:9"
NOTHING = "019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11"
ME = f"os/{os_user()}"
VERDICT = {
    "allowed": True,
    "reason": None,
    "neededRoles": ["operator"],
    "neededScope": None,
    "caller": "staff/alice",
    "roles": ["finance"],
    "customerId": None,
    "until": None,
}


def problem(status: int, slug: str, detail: str, **headers: str) -> Response:
    body = {"type": f"{TYPES}/{slug}", "title": "-", "status": status, "detail": detail}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, body, "application/problem+json", named)


@dataclass
class Scripted:
    """An API that gives these answers one after the other, the last one for ever."""

    answers: Sequence[Response]
    asked: list[Request] = field(default_factory=list)

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (
            problem(401, "unauthenticated", "Send an access token."),
            "Send an access token. Log in with `billing login`.",
        ),
        (
            problem(403, "insufficient-role", "access.check needs the role operator."),
            "access.check needs the role operator.",
        ),
        (problem(404, "not-found", "There is no such thing."), "There is no such thing."),
        (
            problem(429, "rate-limited", "Too many requests.", Retry_After="900"),
            "Too many requests. It asks to wait 900 s.",
        ),
        (problem(503, "unavailable", "Something is down."), "Something is down."),
        (
            Response(502, "<h1>Bad gateway</h1>", "text/html"),
            "{url}/auth/check answers with status 502: it may not be the API.",
        ),
        (
            Response(200, "<h1>Welcome</h1>", "text/html"),
            "{url}/auth/check answers with status 200: it may not be the API.",
        ),
    ],
)
async def test_a_refusal_is_one_sentence(
    command: Command, refusal: Response, sentence: str
) -> None:
    async with local_server(Scripted([refusal])) as url:
        told = await command("whoami", BILLING_API_URL=url)

    assert isinstance(told.exception, Refused)
    assert str(told.exception) == sentence.format(url=url)


@pytest.mark.parametrize("status", [429, 503])
async def test_who_asks_too_much_waits_as_the_api_says(command: Command, status: int) -> None:
    busy = problem(status, "overloaded", "Not now.", Retry_After="0")
    api = Scripted([busy, busy, Response(200, VERDICT)])
    async with local_server(api) as url:
        told = await command("whoami", BILLING_API_URL=url)

    assert told.stdout == "You are staff/alice: finance.\n"
    assert len(api.asked) == 3


async def test_what_a_newer_api_says_besides_is_passed_over(command: Command) -> None:
    async with local_server(Scripted([Response(200, {**VERDICT, "favouriteColour": 5})])) as url:
        told = await command("whoami", BILLING_API_URL=url)

    assert told.stdout == "You are staff/alice: finance.\n"


async def test_who_waits_hears_that_it_goes_on(command: Command, tmp_path: Path) -> None:
    """The API answers only when the command has given a sign of life."""
    heard = asyncio.Event()

    async def late(request: Request) -> Response:
        await heard.wait()
        return Response(200, VERDICT)

    async with local_server(late) as url:
        environment = {**process.python_environment(), "BILLING_API_URL": url}
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", "whoami"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env={**environment, "XDG_STATE_HOME": str(tmp_path)},
        )
        assert running.stderr is not None
        first = await running.stderr.readline()
        heard.set()
        output, _ = await running.communicate()

    assert first.startswith(b"waiting for the API, ")
    assert output == b"You are staff/alice: finance.\n"


async def test_where_nothing_answers_it_is_said_what_to_start(command: Command) -> None:
    told = await command("invoice", "list", BILLING_API_URL=NOBODY)

    assert isinstance(told.exception, Refused)
    assert str(told.exception).startswith(f"Nothing answers at {NOBODY}: start `make dev`")
    assert "`billing --direct`" in str(told.exception)


async def test_in_development_one_is_the_user_of_the_machine(
    command: Command, billing: Billing
) -> None:
    draft = await waiting_draft(billing)

    told = await command("whoami")
    await command("invoice", "approve", "--yes", draft["id"], "--reason", "as agreed")

    assert told.stdout == f"You are {ME}: operator, finance, admin.\n"
    [approved] = await trail(billing.database, action="INVOICE_APPROVED", target_id=draft["id"])
    assert (approved.actor_id, approved.actor_type) == (ME, "OPERATOR")
    assert (approved.reason, approved.user_agent) == ("as agreed", approved.user_agent)
    assert (approved.user_agent or "").startswith("billing/")


async def test_past_the_api_everything_is_the_same_and_noted(
    command: Command, billing: Billing
) -> None:
    draft = await waiting_draft(billing)
    words = ("invoice", "approve", "--yes", draft["id"], "--reason", "as agreed")

    shown = await command("invoice", "show", draft["id"], "--json")
    past = await command(
        *("--direct", "--reason", "the API is down", "invoice", "show", draft["id"], "--json"),
        BILLING_API_URL=NOBODY,
    )
    approved = await command("--direct", *words, BILLING_API_URL=NOBODY)
    again = await command(*words)

    assert past.exit_code == 0, past.exception
    assert past.stdout == shown.stdout
    assert approved.stdout.startswith("The invoice of 10,000,001 KRW is "), approved.exception
    assert again.stdout == approved.stdout, "the same person, the same wish"
    noted = await trail(billing.database, action="BREAK_GLASS_USED", actor_id=ME)
    of_mine = [each for each in noted if draft["id"] in str(each.after)]
    assert [(each.noun, each.target_id, each.reason) for each in of_mine] == [
        ("command", "invoice", "the API is down"),
        ("command", "invoice", None),
    ]
    assert of_mine[0].after == {"command": f"invoice show {draft['id']} --json"}


async def test_past_the_api_of_production_goes_only_who_says_why(
    command: Command, billing: Billing
) -> None:
    invoice = await invoiced(billing)
    production = {
        "BILLING_ENVIRONMENT": "production",
        "BILLING_API_URL": NOBODY,
        "PAYLOAD_KEYS": f"test:{base64.b64encode(bytes(32)).decode()}",
    }
    show = ("invoice", "show", invoice["id"])

    silent = await command("--direct", *show, **production)
    blank = await command("--direct", "--reason", " ", *show, **production)
    said = await command("--direct", "--reason", "its issuer is down", *show, **production)

    for refused in (silent, blank):
        assert isinstance(refused.exception, Refused)
        assert "Why past the API?" in str(refused.exception)
    assert f"Invoice {invoice['id']}" in said.stdout, said.exception
    noted = await trail(billing.database, action="BREAK_GLASS_USED", actor_id=ME)
    reasons = [each.reason for each in noted if invoice["id"] in str(each.after)]
    assert reasons == ["its issuer is down"]


async def test_without_its_database_nothing_is_done_past_the_api(command: Command) -> None:
    """What cannot be noted is not done."""
    told = await command(
        "--direct", "invoice", "show", NOTHING, DATABASE_URL="postgresql://x@127.0.0.1:9/x"
    )

    assert told.exit_code == 1
    assert isinstance(told.exception, OSError)


async def test_what_a_machine_of_production_looks_at_itself_is_said_and_noted(
    command: Command, billing: Billing
) -> None:
    reason = f"a question of {billing.customer_id}"
    production = {"BILLING_ENVIRONMENT": "production"}

    told = await command("--reason", reason, "audit", "anchor", **production)
    quiet = await command("audit", "anchor")

    assert (told.exit_code, quiet.exit_code) == (0, 0)
    assert told.stderr == f"Past the API, as {ME}: noted in the audit trail.\n"
    assert quiet.stderr == ""
    noted = await trail(billing.database, action="BREAK_GLASS_USED", actor_id=ME)
    assert [each.after for each in noted if each.reason == reason] == [{"command": "audit anchor"}]


RUN = "/api/v1/settlement/runs/2026-05"
REPORT: dict[str, object] = {
    "period": "2026-05",
    "startedAt": None,
    "finishedAt": None,
    "customers": 2,
    "settled": 2,
    **dict.fromkeys(("skipped", "notOver", "awaitingApproval", "rejected", "cancelled"), 0),
    "failed": 0,
    "running": 0,
    "failedByReason": {},
    "failures": [],
    "totals": {},
    "seconds": 1.5,
    "throughput": 1.3,
}


def progress(state: str) -> Response:
    return Response(200, {"period": "2026-05", "state": state, "customers": 2, "finished": 1})


class Restarted(Scripted):
    """Hangs up on whoever asks, where it is `GONE`."""

    async def __call__(self, request: Request) -> Response:
        answer = await super().__call__(request)
        if answer is GONE:
            raise ConnectionResetError
        return answer


GONE = Response(0)
NOTHING_YET = problem(404, "not-found", "Nothing was settled.")
BEGUN = Response(202, {}, headers={"Location": f"{RUN}/progress"})


async def test_a_run_is_followed_past_a_restart_of_the_api(command: Command) -> None:
    proxied = Response(502, "nobody", "text/html")
    looked = [progress("RUNNING"), GONE, proxied, progress("COMPLETED")]
    api = Restarted([NOTHING_YET, BEGUN, *looked, GONE, Response(200, REPORT)])
    async with local_server(api) as url:
        told = await command("settlement", "run", "2026-05", "--yes", BILLING_API_URL=url)

    assert told.exit_code == 0, told.exception
    assert told.stderr.count("The API is gone: waiting for it to come back") == 3
    assert "Settlement of 2026-05" in told.stdout
    assert [each.method for each in api.asked] == ["GET", "POST"] + ["GET"] * 6


async def test_an_api_that_does_not_come_back_is_given_up_in_words(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "RESTART_SECONDS", 0.0)
    async with local_server(Restarted([NOTHING_YET, BEGUN, GONE])) as url:
        told = await command("settlement", "run", "2026-05", "--yes", BILLING_API_URL=url)

    assert told.exit_code == 1
    assert "gave no answer" in str(told.exception)
    assert "goes on all the same: the same command follows it again" in str(told.exception)
    assert "`billing settlement report 2026-05`" in str(told.exception)


async def test_what_begins_something_is_not_sent_again_to_an_api_that_is_gone(
    command: Command,
) -> None:
    api = Restarted([NOTHING_YET, GONE])
    async with local_server(api) as url:
        told = await command("settlement", "run", "2026-05", "--yes", BILLING_API_URL=url)

    assert told.exit_code == 1
    assert [each.method for each in api.asked] == ["GET", "POST"]
