"""A database that was restored is older than what Temporal and the PG remember: the page about it
is followed word by word."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import orjson
import pytest

from api.app import create_app
from dev import postgres, process, valkey
from dev.process import Server
from domain.workflow_id import payment_workflow_id
from runtime import schema, temporal
from runtime.settings import Settings
from tests.cli.conftest import Command
from tests.conftest import served
from tests.dev.simulator.conftest import Gateway
from tests.support.billing import Billing
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.databases import connected
from tests.support.installations import brokers, told, worker

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BRISK = 0.2
"""The API does not wait for what no worker does."""


def commands(heading: str) -> list[str]:
    """What the page has its reader type below a heading, but for our own."""
    _, _, rest = PAGE.read_text().partition(f"\n### {heading}\n")
    section, _, _ = rest.partition("\n##")
    typed = [line.strip() for line in section.splitlines() if line.strip().startswith("$ ")]
    return [line[2:] for line in typed if not line.startswith("$ billing ")]


def follow(heading: str, directory: Path, **told: str) -> None:
    """Type it."""
    path = f"{postgres.programs()}:{os.environ['PATH']}"
    for line in commands(heading):
        ran = subprocess.run(
            ["bash", "-c", line],
            cwd=directory,
            env={"PATH": path, **told},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert ran.returncode == 0, f"{line}\n{ran.stderr}"


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    try:
        process.wait_until_ready(servers)
        yield
    finally:
        process.stop(servers)


@pytest.fixture
def pg(tmp_path: Path) -> Iterator[Gateway]:
    """A PG whose book has nothing of other tests."""
    gateway = Gateway(tmp_path / "book")
    yield gateway
    gateway.stop()


@pytest.fixture
def kafka() -> Iterator[str]:
    with brokers() as address:
        yield address


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[tuple[int, int, int]]:
    """Of a PostgreSQL, of another one without tables, and of a Valkey."""
    old, new, redis = (process.free_port() for _ in range(3))
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    servers = (
        postgres.start(tmp_path / "old", old, postgres.RELAXED),
        postgres.start(tmp_path / "new", new, postgres.RELAXED),
        valkey.start(tmp_path, redis),
    )
    with running(*servers):
        yield old, new, redis
    for each in ("old", "new"):
        postgres.remove_data(tmp_path / each)


def installed(settings: Settings, port: int, **more: Any) -> Settings:
    """An installation whose database is at this port."""
    addresses = {
        "database_url": postgres.url(port, postgres.APPLICATION),
        "database_owner_url": postgres.url(port, postgres.OWNER),
        "auth_database_url": postgres.url(port, postgres.ISSUER),
    }
    return settings.model_copy(update={**addresses, "api_wait_seconds": BRISK, **more})


@asynccontextmanager
async def customer(settings: Settings, pg: Gateway) -> AsyncIterator[Billing]:
    """A new one of an installation, and its API."""
    async with (
        connected(settings.database_url, 2) as database,
        served(create_app(settings)) as api,
        httpx2.AsyncClient(base_url=pg.url, timeout=PATIENCE_SECONDS) as simulator,
    ):
        billing = await Billing.for_new_customer(api, simulator, database)
        # Nobody compares the database of this test with those of the others.
        billing.leaves_residue()
        billing.asks_no_pg()
        yield billing


async def accepted(billing: Billing) -> str:
    """A card payment that is begun, or where no worker is, will be."""
    order_id = await billing.order(1000)
    answer = await billing.post("/api/v1/payments", {"orderId": order_id, "method": "CARD"})
    assert answer.status_code in (201, 202), answer.text
    return str(answer.json()["id"])


async def completed(billing: Billing, payment_id: str) -> None:
    async def is_completed() -> bool:
        found = await billing.get(f"/api/v1/payments/{payment_id}")
        return bool(found["status"] == "COMPLETED")

    await eventually(is_completed)


async def test_what_was_open_in_a_dump_goes_on_and_what_came_after_it_is_named(
    command: Command,
    settings: Settings,
    pg: Gateway,
    ports: tuple[int, int, int],
    tmp_path: Path,
    kafka: str,
) -> None:
    old_port, new_port, redis = ports
    alone = {
        "temporal_namespace": f"restored-{uuid4().hex}",
        "redis_url": valkey.url(redis),
        "gateway_url": pg.url,
        "kafka_bootstrap_servers": kafka,
    }
    old, new = (installed(settings, port, **alone) for port in (old_port, new_port))
    superuser = {
        "OLD": f"postgresql://postgres@127.0.0.1:{old_port}",
        "NEW": f"postgresql://postgres@127.0.0.1:{new_port}",
        "BACKUP_URL": postgres.url(old_port, "billing_backup"),
    }
    await asyncio.to_thread(schema.upgrade, old.database_owner_url)
    client = await temporal.connect_when_ready(old)

    async with customer(old, pg) as billing:
        async with worker(old):
            await completed(billing, before := await accepted(billing))
        under_way = await accepted(billing)
        dumped_at = datetime.now(UTC)
        await asyncio.to_thread(follow, "Back up", tmp_path, **superuser)
        async with worker(old):
            await completed(billing, under_way)
            await completed(billing, lost := await accepted(billing))
        stranded = await accepted(billing)
        await asyncio.to_thread(follow, "Restore", tmp_path, **superuser)

        async def is_listed() -> bool:
            """Temporal lists what has begun a moment later."""
            named = f"WorkflowId = '{payment_workflow_id(stranded)}'"
            return (await client.count_workflows(named)).count == 1

        await eventually(is_listed)
        asked = ("restore", "compare", dumped_at.strftime("%Y-%m-%dT%H:%M:%S%z"))

        found = await command(*asked, "--json", **told(new))
        said = await command(*asked, **told(new))

        assert (found.exit_code, said.exit_code) == (1, 1), found.output
        assert {each["workflowId"]: each["standing"] for each in orjson.loads(found.stdout)} == {
            payment_workflow_id(under_way): "SET_BACK",
            payment_workflow_id(lost): "LOST",
            payment_workflow_id(stranded): "STRANDED",
        }
        assert "LOST: 1 have left nothing here" in said.stdout

    await client.get_workflow_handle(payment_workflow_id(stranded)).terminate("its row is lost")
    async with customer(new, pg) as billing:
        async with worker(new):
            await completed(billing, under_way)
        verified = await command("verify", **told(new))
        book = await billing.book(under_way)
        kept = await billing.get(f"/api/v1/payments/{before}")

    assert kept["status"] == "COMPLETED"
    assert (len(book["payments"]), book["totals"]["KRW"]["captured"]) == (1, 1000)
    assert verified.exit_code == 1
    assert f"{lost}: The PG has taken money for it, but we have no such payment" in verified.stdout
    assert verified.stdout.splitlines()[-1].startswith("1 ")


def test_the_page_has_commands_to_follow() -> None:
    assert any(line.startswith("pg_dump ") for line in commands("Back up"))
    assert any(line.startswith("pg_restore ") for line in commands("Restore"))
