"""`billing login`, `whoami` and `logout`: who somebody is to the API, and what is kept of it."""

import asyncio
import json
import stat
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import Result

from cli import tokens
from cli.calling import calling
from cli.refused import Refused
from dev import process, services
from dev.stack import Stack
from runtime.settings import Settings
from tests.api.settling import waiting_draft
from tests.cli.conftest import Command
from tests.support.audit import trail
from tests.support.billing import Billing
from tests.support.login_issuer import PASSWORD, LoginIssuer, login_issuer

pytestmark = pytest.mark.usefixtures("settlements")

LoggedIn = Callable[[], dict[str, object]]


@pytest.fixture(scope="module")
async def running_issuer() -> AsyncIterator[LoginIssuer]:
    async with login_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
async def secured(
    stack: Stack, settings: Settings, running_issuer: LoginIssuer
) -> AsyncIterator[str]:
    """The address of an API that believes the issuer's tokens and nobody else's."""
    port = process.free_port()
    told = services.environment(
        stack,
        gateway_webhook_secret=settings.gateway_webhook_secret.get_secret_value(),
        time_scale=settings.time_scale,
        log_level="WARNING",
        oidc_issuers=json.dumps([running_issuer.signer.settings(alias="staff")]),
    )
    server = services.start_api(replace(stack, directory=stack.directory / "secured"), port, told)
    try:
        await asyncio.to_thread(process.wait_until_ready, [server])
        yield f"http://127.0.0.1:{port}"
    finally:
        await asyncio.to_thread(process.stop, [server])


@pytest.fixture
def issuer(running_issuer: LoginIssuer) -> LoginIssuer:
    """As it is for a new person."""
    fresh = LoginIssuer(running_issuer.signer)
    vars(running_issuer).update(vars(fresh))
    return running_issuer


@pytest.fixture
def secure(command: Command, secured: str, issuer: LoginIssuer) -> Command:
    """A command that asks that API, and knows its issuer."""

    async def run(*arguments: str, **more: str | None) -> Result:
        told = {"BILLING_API_URL": secured, "BILLING_ISSUER": issuer.url, **more}
        return await command(*arguments, **told)

    return run


@pytest.fixture
def kept(tmp_path: Path) -> LoggedIn:
    """What the one file of a login holds."""

    def read() -> dict[str, object]:
        [file] = (tmp_path / "state" / "billing").glob("*.json")
        found: dict[str, object] = json.loads(file.read_text())
        return found

    return read


async def test_who_agrees_on_another_device_is_known_from_then_on(
    secure: Command, issuer: LoginIssuer, billing: Billing, tmp_path: Path
) -> None:
    issuer.polls = ["authorization_pending", "authorization_pending"]
    draft = await waiting_draft(billing)

    before = await secure("invoice", "show", draft["id"])
    login = await secure("login", "--client-id", "our-cli", "--audience", "billing")
    who = await secure("whoami")
    approved = await secure("invoice", "approve", "--yes", draft["id"], "--reason", "as agreed")

    assert "Log in with `billing login`." in str(before.exception)
    assert login.exit_code == 0, login.exception
    assert f"Open {issuer.url}/enter\nand enter the code WDJB-MJHT\n" in login.stdout
    assert "You are staff/alice: finance.\n" in login.stdout
    assert who.stdout.startswith("You are staff/alice: finance.\nYour token ends 20")
    assert approved.stdout.startswith("The invoice of 10,000,001 KRW is "), approved.exception
    assert [each["client_id"] for each in issuer.asked] == ["our-cli"] * 3
    assert {each["audience"] for each in issuer.asked} == {"billing"}
    [noted] = await trail(billing.database, action="INVOICE_APPROVED", target_id=draft["id"])
    assert (noted.actor_id, noted.actor_type) == ("staff/alice", "FINANCE")
    directory = tmp_path / "state" / "billing"
    [file] = directory.glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_what_a_role_may_not_do_names_the_one_that_may(
    secure: Command, issuer: LoginIssuer, billing: Billing
) -> None:
    issuer.roles = ("admin",)
    draft = await waiting_draft(billing)
    await secure("login")

    told = await secure("invoice", "approve", "--yes", draft["id"], "--reason", "as agreed")

    assert isinstance(told.exception, Refused)
    assert str(told.exception) == "invoices.decide needs the role operator or finance."


async def test_a_token_that_ends_is_renewed_once_however_many_ask(
    secure: Command, secured: str, issuer: LoginIssuer, kept: LoggedIn, tmp_path: Path
) -> None:
    issuer.lifetime = 1
    await secure("login")
    renewed_at_login, first = issuer.renewals, kept()
    issuer.lifetime = 300

    told = await asyncio.gather(*(_whoami(secured, tmp_path) for _ in range(3)))

    assert {each.splitlines()[0] for each in told} == {"You are staff/alice: finance."}
    assert issuer.renewals == renewed_at_login + 1
    assert kept()["refresh_token"] != first["refresh_token"]
    assert "scope" not in issuer.asked[-1]


async def test_a_login_that_ends_while_a_command_works_is_renewed(
    secure: Command,
    secured: str,
    issuer: LoginIssuer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever watches a settlement for hours has a token for minutes."""
    await secure("login")
    monkeypatch.setenv("BILLING_API_URL", secured)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    async with calling() as api:
        await api.get("/api/v1/proposals")
        ended = tokens.kept(secured)
        assert ended is not None
        tokens.keep(ended.model_copy(update={"access_token": "ended", "expires_at": 0.0}))
        await api.get("/api/v1/proposals")

    assert issuer.renewals == 1


async def _whoami(url: str, home: Path) -> str:
    """In a process of its own, as commands are that run at once."""
    told = {"BILLING_API_URL": url, "XDG_STATE_HOME": str(home / "state")}
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "whoami"),
        stdout=asyncio.subprocess.PIPE,
        cwd=home,
        env={**process.python_environment(), **told},
    )
    output, _ = await running.communicate()
    return output.decode()


async def test_who_could_keep_no_login_is_told_before_they_agree(
    secure: Command, issuer: LoginIssuer
) -> None:
    told = await secure("login", XDG_STATE_HOME="/proc/nobody-makes-folders-here")

    assert isinstance(told.exception, OSError)
    assert "and enter the code" not in told.stdout
    assert issuer.asked == []


async def test_a_login_that_cannot_be_renewed_has_ended(
    secure: Command, issuer: LoginIssuer
) -> None:
    await secure("login")
    issuer.lifetime = 1
    await secure("login")
    issuer.refresh_token = "of somebody else"

    told = await secure("whoami")

    assert isinstance(told.exception, Refused)
    assert str(told.exception) == (
        "Your login has ended: run `billing login` again. "
        f"The issuer at {issuer.url}/token refuses: It was used before."
    )


async def test_who_logs_out_is_forgotten_here_and_there(
    secure: Command, issuer: LoginIssuer, tmp_path: Path
) -> None:
    await secure("login")

    out = await secure("logout")
    again = await secure("logout")
    after = await secure("whoami")

    assert (out.stdout, again.stdout) == ("Logged out.\n", "Nobody was logged in.\n")
    assert issuer.revoked == [issuer.refresh_token]
    assert not list((tmp_path / "state" / "billing").glob("*.json"))
    assert "Log in with `billing login`." in str(after.exception)


async def test_a_password_is_read_from_standard_input(secure: Command, issuer: LoginIssuer) -> None:
    wrong = await secure("login", "--username", "alice", stdin="guess\n")
    right = await secure("login", "--username", "alice", stdin=f"{PASSWORD}\n")
    issuer.offers = frozenset({"device"})
    refused = await secure("login", "--username", "alice", stdin=f"{PASSWORD}\n")

    assert str(wrong.exception).endswith("refuses: The password is wrong.")
    assert "You are staff/alice: finance.\n" in right.stdout, right.exception
    assert str(refused.exception) == f"{issuer.url} takes no passwords here: leave --username out."
    assert [each["username"] for each in issuer.asked] == ["alice", "alice"]


async def test_who_can_agree_nowhere_is_told_how_else(secure: Command, issuer: LoginIssuer) -> None:
    issuer.offers = frozenset()

    told = await secure("login")

    assert str(told.exception).startswith(f"{issuer.url} offers no login by another device: ")
    assert "billing --as FILE" in str(told.exception)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("access_denied", "refuses: access_denied."),
        ("expired_token", "refuses: expired_token."),
    ],
)
async def test_who_does_not_agree_is_not_logged_in(
    secure: Command, issuer: LoginIssuer, code: str, sentence: str
) -> None:
    issuer.polls = ["authorization_pending", code]

    told = await secure("login")

    assert isinstance(told.exception, Refused)
    assert str(told.exception).endswith(sentence)


async def test_a_machine_shows_the_token_of_its_file(
    secure: Command, issuer: LoginIssuer, tmp_path: Path
) -> None:
    token = issuer.signer.token(sub="nightly", client_id="nightly", roles=["operator"])
    file = tmp_path / "token"
    file.write_text(f"{token}\n")

    named = await secure("--as", str(file), "whoami")
    told = await secure("whoami", BILLING_TOKEN_FILE=str(file))
    for each in (named, told):
        assert each.stdout.startswith("You are staff/client/nightly: operator.\n"), each.exception


@pytest.mark.parametrize("content", ["\n", "one\ntwo\n", "Bearer one\n", "o\x01ne\n", "öne\n"])
async def test_a_file_that_holds_no_token_is_shown_to_nobody(
    command: Command, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "token"
    file.write_text(content)

    told = await command("--as", str(file), "whoami")

    assert str(told.exception) == f"{file} holds no token: one line, nothing else."


async def test_a_token_is_shown_to_nobody_who_could_read_it_on_the_way(
    secure: Command, issuer: LoginIssuer, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(issuer.signer.token())

    plain = await secure(
        *("--as", str(tmp_path / "token"), "whoami"), BILLING_API_URL="http://billing.example"
    )
    insecure = await secure("login", "--issuer", "http://login.example")
    issuer.claims_to_be = "https://login.example"
    other = await secure("login")

    assert str(plain.exception).startswith("http://billing.example would be shown the token in ")
    assert str(insecure.exception).startswith("http://login.example should be https")
    assert str(other.exception).startswith(f"{issuer.url} says that it is https://login.example")


async def test_a_login_is_for_one_api_only(
    command: Command, secure: Command, api_url: str, issuer: LoginIssuer
) -> None:
    """Another API, also one that somebody else has put in its place, is shown nothing of it."""
    await secure("login")

    elsewhere = await command("whoami", BILLING_API_URL=api_url)

    assert elsewhere.stdout.startswith("You are os/")


async def test_the_issuer_of_last_time_need_not_be_named(
    secure: Command, issuer: LoginIssuer
) -> None:
    nobody = await secure("login", BILLING_ISSUER=None)
    await secure("login")
    again = await secure("login", BILLING_ISSUER=None)

    assert str(nobody.exception) == "Whose login? Say it in --issuer, or in BILLING_ISSUER."
    assert "You are staff/alice" in again.stdout


def test_what_is_kept_shows_no_secret_when_it_is_printed() -> None:
    login = tokens.Login(
        api_url="-",
        issuer="-",
        client={},
        token_endpoint="-",
        revocation_endpoint=None,
        access_token="secret",
        refresh_token="secret",
        expires_at=None,
    )

    assert "secret" not in repr(login)
