"""The `billing` command as a process: what it says, how it ends, and what it leaves."""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from typer.testing import CliRunner

from cli.main import app, main
from cli.options import EXAMPLE_ID
from cli.settings import ClientSettings
from dev import postgres, process
from dev.stack import Stack
from domain.event import TOPICS
from runtime.settings import Settings
from tests.support.conditions import PATIENCE_SECONDS, eventually_beside_the_loop
from tests.support.databases import database_of_its_own, execute, named, settings_of_its_own
from tests.support.processes import descendants, running
from tests.support.threads import beside_the_loop

BILLING = [sys.executable, "-m", "cli.main"]
SETTINGS = {name.upper() for name in Settings.model_fields}
SETTINGS |= {"BILLING_ENDPOINTS", "TEMPORAL_DEBUG"}
SETTINGS |= {name.upper() for name in ClientSettings.model_fields}
READY = {
    "BILLING_ENVIRONMENT": "production",
    "PAYLOAD_KEYS": f"test:{base64.b64encode(bytes(32)).decode()}",
}
"""What a process of production needs before it starts, but for its servers."""


def environment(**more: str) -> dict[str, str]:
    """That of a person who has set nothing but this."""
    inherited = process.python_environment()
    return {name: value for name, value in inherited.items() if name not in SETTINGS} | more


def billing(*arguments: str, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The command, run to its end."""
    return subprocess.run(
        [*BILLING, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**variables),
        timeout=PATIENCE_SECONDS,
    )


@dataclass(frozen=True)
class Dev:
    """A running `billing dev`."""

    launcher: "subprocess.Popen[str]"
    home: Path
    port: int
    said: str

    def pay(self) -> dict[str, Any]:
        """An order of the development customer, paid by card."""
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_SECONDS
        ) as api:
            item = {"sku": "SKU-1", "quantity": 1, "unitPrice": 1000}
            order = _post(api, "/api/v1/orders", {"currency": "KRW", "items": [item]})
            return _post(api, "/api/v1/payments", {"orderId": order["id"], "method": "CARD"})


def _post(api: httpx2.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    key = {"Idempotency-Key": uuid4().hex}
    answer = api.post(path, json=body, headers=key)
    while answer.status_code in (202, 409):  # on a busy machine: each repeat waits for the outcome
        answer = api.post(path, json=body, headers=key)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


PORTS = ("API_PORT", "UI_PORT", "WORKER_PORT", "TEMPORAL_METRICS_PORT")
"""The variables that say where `billing dev` listens."""


@contextmanager
def running_dev(home: Path, *options: str) -> Iterator[Dev]:
    """`billing dev` on free ports, with its data below `home`; killed at the end, if need be."""
    port = process.free_port()
    ports = ["--port", str(port)]
    for other in ("--ui-port", "--worker-port", "--sdk-port"):
        ports += [other, str(process.free_port())]
    launcher = subprocess.Popen(
        [*BILLING, "dev", *ports, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
        env=environment(LOG_LEVEL="WARNING"),
    )
    assert launcher.stdout is not None
    try:
        with launcher.stdout as output:
            said = ""
            while "Ctrl-C stops everything" not in said:
                line = output.readline()
                assert line, said
                said += line
            yield Dev(launcher, home, port, said)
    finally:
        launcher.kill()
        launcher.wait()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A working directory with a space in its path."""
    directory = tmp_path / "a home"
    directory.mkdir()
    yield directory
    postgres.remove_data(directory / ".data")


@beside_the_loop
def test_dev_pays_stops_on_ctrl_c_and_keeps_its_data(home: Path) -> None:
    with running_dev(home) as dev:
        paid = dev.pay()
        assert paid["status"] == "COMPLETED"
        second = billing("dev", cwd=home)
        pids = descendants(dev.launcher.pid)
        dev.launcher.send_signal(signal.SIGINT)
        assert dev.launcher.wait(PATIENCE_SECONDS) == 0
        assert not running(pids)
    assert second.returncode == 1
    assert second.stderr == (
        "billing: `make dev` already runs in this folder: use that one, or stop it with Ctrl-C "
        "there.\n"
    )
    assert not (home / ".data" / "endpoints.env").exists()

    with running_dev(home) as dev:
        shown = billing("payment", "show", paid["id"], "--json", cwd=home)
        pids = descendants(dev.launcher.pid)
        assert len(pids) > 5
        dev.launcher.kill()
        dev.launcher.wait()
        eventually_beside_the_loop(lambda: not running(pids))

    [story] = json.loads(shown.stdout)
    assert story["payment"]["status"] == "COMPLETED"
    assert story["workflows"][0]["status"] == "COMPLETED"
    # What the killed launcher could not remove points to servers that are gone.
    late = billing("review", "list", cwd=home)
    assert late.returncode == 1
    assert late.stderr.startswith(
        f"billing: Nothing answers at http://127.0.0.1:{dev.port}: start "
    )
    assert late.stderr.count("\n") == 1
    machine = billing("--direct", "review", "list", cwd=home)
    assert machine.returncode == 1
    assert machine.stderr == "billing: Nothing runs here: start `make dev` in another terminal.\n"


@beside_the_loop
def test_a_secure_dev_asks_for_tokens_and_says_once_who_can_log_in(home: Path) -> None:
    auth_port = process.free_port()
    secure = ("--secure", "--auth-port", str(auth_port))
    with (
        running_dev(home, *secure) as dev,
        httpx2.Client(timeout=PATIENCE_SECONDS) as http,
    ):
        api, issuer = f"http://127.0.0.1:{dev.port}", f"http://127.0.0.1:{auth_port}"
        passwords = dict(re.findall(r"^  (\S+)  (\S{20})$", dev.said, re.MULTILINE))
        assert set(passwords) == {"admin", "operator", "finance", "demo", "acme-corp"}
        assert http.get(f"{api}/api/v1/wallet").status_code == 401
        wallets = {
            name: http.get(f"{api}/api/v1/wallet?customerId=demo", headers=shown).status_code
            for name, password in passwords.items()
            for shown in [_logged_in(http, issuer, name, password)]
        }
        kept = [path.read_text(errors="replace") for path in (home / ".data").glob("*.log")]
        listed = billing("user", "list", cwd=home).stdout
        dev.launcher.send_signal(signal.SIGINT)
        assert dev.launcher.wait(PATIENCE_SECONDS) == 0
    assert wallets.pop("acme-corp") == 404
    assert set(wallets.values()) == {200}
    assert all(f"{name}  " in listed for name in passwords)
    assert not [each for each in passwords.values() if any(each in log for log in kept)]

    with running_dev(home, *secure) as dev:
        assert "those who were named here the first time" in dev.said
        dev.launcher.send_signal(signal.SIGINT)
        assert dev.launcher.wait(PATIENCE_SECONDS) == 0


def _logged_in(http: httpx2.Client, issuer: str, name: str, password: str) -> dict[str, str]:
    answer = http.post(f"{issuer}/auth/login", json={"name": name, "password": password})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['accessToken']}"}


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("API_PORT", "API"),
        ("UI_PORT", "Temporal UI"),
        ("WORKER_PORT", "Worker"),
        ("TEMPORAL_METRICS_PORT", "Temporal SDK"),
    ],
)
@beside_the_loop
def test_a_port_in_use_says_how_to_choose_another(tmp_path: Path, variable: str, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        free = {each: str(process.free_port()) for each in PORTS}
        done = billing("dev", cwd=tmp_path, **{**free, variable: port})

    assert done.returncode == 1
    said, _, how = done.stderr.partition("choose another port: ")
    assert said == f"billing: Port {port} ({name}) is in use: stop what listens there, or "
    assert re.fullmatch(rf"{variable}=\d+ make dev\.\n", how)
    assert os.listdir(tmp_path / ".data") == ["stack.lock"]


@beside_the_loop
def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert billing("--version", cwd=tmp_path).stdout == f"billing {version('durable-billing')}\n"


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (
            ("review", "list"),
            {"BILLING_API_URL": "http://127.0.0.1:1"},
            "Nothing answers at http://127.0.0.1:1: start `make dev`",
        ),
        *(
            (
                ("whoami",),
                {"BILLING_API_URL": url},
                "The setting BILLING_API_URL cannot be used: It is no address such as http",
            )
            for url in ("127.0.0.1:8080", "localhost:8080", "http://", "http://127.0.0.1:99999")
        ),
        (("--direct", "review", "list"), {}, "Nothing runs here: start `make dev`"),
        (
            ("--direct", "--reason", "a test", "review", "list"),
            {"DATABASE_URL": "postgresql://a@127.0.0.1:1/b", **READY},
            "The database cannot be used: nobody answers.",
        ),
        (
            ("audit", "anchor"),
            {"DATABASE_URL": "postgresql://a@127.0.0.1:1/b"},
            "The database cannot be used: nobody answers.",
        ),
        (("--as", "no-such-file", "review", "list"), {}, "no-such-file cannot be used: "),
        (
            ("migrate",),
            {"DATABASE_OWNER_URL": "postgresql://a@127.0.0.1:1/b"},
            "The database cannot be used: nobody answers.",
        ),
        *(
            (
                ("migrate",),
                {"DATABASE_OWNER_URL": url},
                "The database cannot be used: it should be an address such as postgresql://",
            )
            for url in ("a-host", "mysql://a@127.0.0.1/b", "postgresql://a@127.0.0.1:port/b")
        ),
        *(
            (
                (process_,),
                {"BILLING_ENVIRONMENT": "dev", "TEMPORAL_ADDRESS": "http://127.0.0.1:7233"},
                "TEMPORAL_ADDRESS cannot be used: it should be host:port, without http://.",
            )
            for process_ in ("api", "worker")
        ),
        (("migrate",), {}, "Nothing runs here: start `make dev`"),
        (("seed",), {}, "Customers and cards of development are no part of production: set "),
        (("outbox", "republish", "--topic", TOPICS[0]), {}, "Nothing runs here: start `make dev`"),
        (("migrate",), {"TIME_SCALE": "0"}, "The setting TIME_SCALE cannot be used: "),
        (
            ("migrate",),
            {"DUNNING_LADDER_DAYS": "[3, 1]"},
            "The setting DUNNING_LADDER_DAYS cannot be used: Each number of days should be more ",
        ),
        (
            ("migrate",),
            {"APPROVAL_DAYS": "[1, 3]"},
            "The setting APPROVAL_DAYS cannot be used: Tuple should have at least 3 items",
        ),
        (("migrate",), {"APPROVAL_DAYS": "1, 3, 7"}, "A setting is not valid JSON: "),
        (("worker",), {}, "Nothing may be kept in clear in production: set PAYLOAD_KEYS"),
        (("payment", "show", "x"), {}, "'x' is not an id"),
    ],
)
@beside_the_loop
def test_what_a_person_can_mend_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: Sequence[str],
    variables: dict[str, str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)  # where no endpoints file is
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["billing", *arguments])

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith(f"billing: {sentence}")
    assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", ["payment --help", "deploy list --csv"])
@beside_the_loop
def test_a_full_disk_is_called_a_full_disk(tmp_path: Path, stack: Stack, arguments: str) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            (*BILLING, *arguments.split()),
            cwd=tmp_path,
            env=environment(TEMPORAL_ADDRESS=stack.endpoints.temporal_address),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert ended.returncode == 1
    [sentence] = [each for each in ended.stderr.splitlines() if each.startswith("billing:")]
    assert sentence == "billing: It cannot be written: No space left on device."
    assert "Exception" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "number", "said"),
    [
        (f"invoice pay {EXAMPLE_ID}", 0, "billing: Nobody is here to be asked: say --yes to do it"),
        ("payment --help", 1, "billing: It cannot be written: Bad file descriptor."),
        ("payment --help", 2, ""),
    ],
)
@beside_the_loop
def test_a_job_that_was_started_without_a_stream_is_told_in_words(
    tmp_path: Path, arguments: str, number: int, said: str
) -> None:
    begun = "import os, sys; os.close(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"

    ended = subprocess.run(
        (sys.executable, "-c", begun, str(number), *BILLING, *arguments.split()),
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == (number != 2)
    assert ended.stderr.startswith(said)
    assert "Traceback" not in ended.stderr


@beside_the_loop
def test_a_terminal_that_lacks_a_character_is_shown_its_number(tmp_path: Path) -> None:
    ended = billing("nothing-\u20a9", cwd=tmp_path, PYTHONIOENCODING="ascii")
    told = billing("invoice", "pay", "--help", cwd=tmp_path, PYTHONIOENCODING="ascii")

    assert "UnicodeEncodeError" not in ended.stderr
    assert told.returncode == 0, "its frame is not ASCII"


@beside_the_loop
def test_a_worker_that_waits_for_temporal_can_be_stopped(tmp_path: Path) -> None:
    worker = subprocess.Popen(
        [*BILLING, "worker"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(BILLING_ENVIRONMENT="dev", TEMPORAL_ADDRESS="127.0.0.1:1"),
    )
    assert worker.stderr is not None
    with worker.stderr as log:
        assert "Temporal cannot be reached yet" in log.readline()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("payment",),
        ("review",),
        ("user",),
        ("auth",),
    ],
)
@beside_the_loop
def test_every_group_explains_itself(arguments: Sequence[str]) -> None:
    shown = CliRunner().invoke(app, [*arguments, "--help"])

    assert shown.exit_code == 0
    usage, explained = shown.output.split("Usage: ")[1].split("\n", 1)
    assert usage.startswith(" ".join(["billing", *arguments]))
    assert explained.split("╭")[0].strip().endswith((".", ";"))


async def test_a_database_that_is_not_there_or_full_is_one_sentence(
    settings: Settings, tmp_path: Path
) -> None:
    name = f"full_{uuid4().hex}"
    address = named(settings.database_owner_url, name)
    migrate = partial(billing, "migrate", cwd=tmp_path, DATABASE_OWNER_URL=address)
    async with database_of_its_own(settings.database_owner_url, name):
        await execute(settings.database_owner_url, f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        full = await asyncio.to_thread(migrate)
    gone = await asyncio.to_thread(migrate)

    for done, sentence in (
        (full, "PostgreSQL has no connection left for us: raise its `max_connections`, or lower "),
        (gone, f'The database cannot be used: database "{name}" does not exist. Is it running, '),
    ):
        assert done.returncode == 1
        assert done.stderr.startswith(f"billing: {sentence}")
        assert done.stderr.count("\n") == 1


async def test_seed_makes_in_dev_what_a_fresh_one_holds(settings: Settings, tmp_path: Path) -> None:
    async with settings_of_its_own(settings) as own:
        told = {"BILLING_ENVIRONMENT": "dev", "DATABASE_URL": own.database_url}
        for _ in range(2):
            done = await asyncio.to_thread(billing, "seed", cwd=tmp_path, **told)
            assert (done.returncode, done.stderr) == (0, "")

        assert sorted(await execute(own.database_owner_url, "SELECT id FROM customers")) == [
            *("acme-corp", "demo")
        ]
