import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from dotenv import dotenv_values
from redis import Redis
from temporalio.client import Client

from dev import postgres, process
from dev.process import StackError
from dev.stack import (
    LOCK,
    SimulatorOptions,
    alone,
    durable_stack,
    temporary_directory,
    temporary_stack,
)
from tests.support.conditions import eventually_beside_the_loop
from tests.support.processes import descendants, running

TOPIC = "billing.payment.completed"
SIMULATOR = SimulatorOptions(
    webhook_url="http://127.0.0.1:8080/webhooks/gateway/simulator",
    webhook_secret="whsec_ZHVyYWJsZS1iaWxsaW5nLWRldmVsb3BtZW50LXNlY3JldA==",
)
ELSEWHERE = {
    "DATABASE_URL": "postgresql://billing_app@db.example/billing",
    "DATABASE_OWNER_URL": "postgresql://billing_owner:a $ecret@db.example/billing",
    "AUTH_DATABASE_URL": "postgresql://billing_auth@db.example/billing",
    "REDIS_URL": "redis://cache.example:6379/0",
    "KAFKA_BOOTSTRAP_SERVERS": "broker-1.example:9092,broker-2.example:9092",
    "TEMPORAL_ADDRESS": "temporal.example:7233",
    "TEMPORAL_NAMESPACE": "elsewhere",
    "TEMPORAL_UI_URL": "https://temporal.example",
    "GATEWAY_URL": "https://pg.example",
}

# A launcher as `billing dev` is one: runs the stack of argv[1] until somebody ends it.
LAUNCHER = f"""
import signal, sys
from pathlib import Path
from dev.stack import SimulatorOptions, durable_stack
directory = Path(sys.argv[1])
with durable_stack(
    directory,
    [{TOPIC!r}],
    SimulatorOptions({SIMULATOR.webhook_url!r}, {SIMULATOR.webhook_secret!r}),
    ui_port=int(sys.argv[2]),
    environment={{}},
) as stack, stack.endpoints.published(directory / "endpoints.env"):
    print("ready", flush=True)
    signal.pause()
"""


@pytest.fixture
def launcher(directory: Path) -> Iterator["subprocess.Popen[bytes]"]:
    argv = [sys.executable, "-c", LAUNCHER, str(directory), str(process.free_port())]
    parent = subprocess.Popen(argv, stdout=subprocess.PIPE, env=process.python_environment())
    assert parent.stdout is not None
    with parent.stdout as output:
        assert output.readline() == b"ready\n"
    yield parent
    parent.kill()
    parent.wait()


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in ELSEWHERE.items() if name not in names}


async def test_kill_9_of_the_launcher_ends_every_server_and_loses_no_data(
    launcher: "subprocess.Popen[bytes]", directory: Path
) -> None:
    before = dotenv_values(directory / "endpoints.env")
    database = await asyncpg.connect(before["DATABASE_OWNER_URL"])
    await database.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await database.close()
    temporal = await Client.connect(str(before["TEMPORAL_ADDRESS"]), namespace="billing")
    await temporal.start_workflow("PaymentSaga", id="payment/1", task_queue="payments")
    pids = descendants(launcher.pid)
    assert len(pids) > 5

    launcher.kill()
    launcher.wait()
    eventually_beside_the_loop(lambda: not running(pids))

    ui_port = process.free_port()
    with durable_stack(directory, [TOPIC], SIMULATOR, ui_port=ui_port, environment={}) as stack:
        database = await asyncpg.connect(stack.endpoints.database_url)
        assert await database.fetchval("SELECT to_regclass('kept') IS NOT NULL")
        await database.close()
        temporal = await Client.connect(stack.endpoints.temporal_address, namespace="billing")
        assert (await temporal.get_workflow_handle("payment/1").describe()).id == "payment/1"
        ui = urlsplit(stack.endpoints.temporal_ui_url)
        assert process.http_get(ui_port, "/")[0] == 200
        assert ui.port == ui_port


def test_a_temporary_stack_leaves_nothing_behind() -> None:
    reported: dict[str, float] = {}
    with temporary_stack(
        [TOPIC], SIMULATOR, progress=reported.__setitem__, environment={}
    ) as stack:
        stack.check_running()
        with closing(Redis.from_url(stack.endpoints.redis_url)) as redis:
            assert redis.ping()
        gateway = urlsplit(stack.endpoints.gateway_url)
        assert gateway.port is not None
        assert process.http_get(gateway.port, "/health")[0] == 200
        pids = {server.process.pid for server in stack.servers}

    parts = ["PostgreSQL", "Valkey", "Temporal", "Kafka", "Gateway simulator"]
    happens = {f"{part} {what}" for part in parts for what in ("is ready", "has stopped")}
    assert set(reported) == happens
    assert not running(pids)
    assert not stack.directory.exists()
    assert not postgres.data_directory(stack.directory).exists()


def test_every_part_can_be_replaced_by_the_environment(directory: Path) -> None:
    file = directory / "endpoints.env"
    with durable_stack(directory, [], SIMULATOR, environment=ELSEWHERE) as stack:
        assert stack.servers == ()
        assert stack.endpoints.environment() == ELSEWHERE
        with stack.endpoints.published(file):
            assert dotenv_values(file) == ELSEWHERE
        assert not file.exists()


def test_what_has_failed_leaves_its_logs_and_nothing_else() -> None:
    directories: list[Path] = []

    def fail() -> None:
        with temporary_directory() as directory:
            directories.append(directory)
            process.stop([postgres.start(directory, process.free_port(), postgres.RELAXED)])
            raise StackError("no such thing")

    with pytest.raises(StackError, match="no such thing") as failure:
        fail()

    [kept] = directories
    assert failure.value.__notes__ == [f"The logs are kept in {kept}."]
    assert sorted(os.listdir(kept)) == ["initdb.log", "postgresql.log"]
    assert postgres.data_directories(kept) == []
    shutil.rmtree(kept)


def test_what_was_interrupted_leaves_nothing() -> None:
    directories: list[Path] = []

    def interrupt() -> None:
        with temporary_directory() as directory:
            directories.append(directory)
            (directory / "worker.log").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()

    assert not directories[0].exists()


def test_a_folder_in_which_one_runs_refuses_another(tmp_path: Path) -> None:
    lock, endpoints = tmp_path / "data" / LOCK, tmp_path / "data" / "endpoints.env"
    with alone(lock, "refused", endpoints):
        endpoints.touch()  # it runs
        with pytest.raises(StackError, match="refused"), alone(lock, "refused", endpoints):
            pass
    with alone(lock, "refused", endpoints):
        assert not endpoints.exists()  # of one that was killed


def test_one_that_starts_or_stops_is_waited_for(tmp_path: Path) -> None:
    lock, endpoints = tmp_path / LOCK, tmp_path / "endpoints.env"
    with ExitStack() as first:
        first.enter_context(alone(lock, "refused", endpoints))
        told: list[str] = []

        def tell(sentence: str) -> None:
            told.append(sentence)
            first.close()

        with alone(lock, "refused", endpoints, tell):
            pass

    assert told == ["Another one is starting or stopping here: waiting for it ..."]


def test_the_other_parts_are_still_started() -> None:
    with temporary_stack([], SIMULATOR, environment=without("REDIS_URL")) as stack:
        assert [server.name for server in stack.servers] == ["Valkey"]
        assert stack.endpoints.redis_url.startswith("redis://127.0.0.1:")
        assert stack.endpoints.gateway_url == ELSEWHERE["GATEWAY_URL"]


@pytest.mark.parametrize("name", ["DATABASE_OWNER_URL", "AUTH_DATABASE_URL"])
def test_a_database_needs_its_other_roles_too(name: str) -> None:
    environment = without(name)
    with (
        pytest.raises(StackError, match=f"set {name} too"),
        temporary_stack([], SIMULATOR, environment=environment),
    ):
        pass


def test_a_port_of_the_ui_in_use_is_named(directory: Path) -> None:
    environment = without("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_UI_URL")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with (
            pytest.raises(
                StackError, match=rf"Port {port} \(Temporal UI\) is in use: .*UI_PORT=\d+ make dev"
            ),
            durable_stack(directory, [], SIMULATOR, ui_port=port, environment=environment),
        ):
            pass


def test_a_part_that_dies_is_named() -> None:
    with temporary_stack([], SIMULATOR, environment=without("REDIS_URL")) as stack:
        stack.check_running()
        stack.servers[0].process.send_signal(signal.SIGKILL)
        stack.servers[0].process.wait()

        with pytest.raises(StackError, match=r"Valkey ended \(SIGKILL\)\. Its log, "):
            stack.check_running()
