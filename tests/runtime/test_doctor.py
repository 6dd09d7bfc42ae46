"""What is really wrong with an installation is found, named, and told with what to do."""

import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.service import RPCError, RPCStatusCode

from dev import kafka, process, valkey
from domain.access import SYSTEM
from domain.event import PARTITIONS, TOPICS, USAGE, Topic
from domain.finding import Finding, Verdict
from domain.usage import LATE
from runtime import schema, temporal, usage_partitions
from runtime.doctor import LEAST, Findings, Process, examine, examine_database
from runtime.settings import Settings
from store import clock
from tests.api.documents import closed_port
from tests.runtime.test_production import READY
from tests.support.clocks import moved
from tests.support.conditions import eventually
from tests.support.databases import connected, database_of_its_own, execute, named
from tests.support.installations import installation
from tests.support.namespaces import a_namespace
from workflows import search_attributes


@pytest.fixture
async def alone(settings: Settings) -> AsyncIterator[Settings]:
    """Prepared as the first worker prepares it."""
    async with installation(settings) as own:
        await temporal.connect_when_ready(own)

        async def is_registered() -> bool:
            found = await _examined(own)
            return not [each for each in found if each.about == "search attributes" and each.remedy]

        async with connected(own.database_url) as pool:
            async with pool.read(SYSTEM) as tx:
                now = await clock.now(tx)
            await usage_partitions.make(pool, now, LATE)
        await eventually(is_registered)
        yield own


async def _examined(settings: Settings, process_: Process = Process.API) -> Findings:
    found: Findings = []
    await examine(settings, process_, lambda _, each: found.extend(each), lambda _: None)
    return found


async def bad(settings: Settings, **changed: Any) -> dict[str, list[Finding]]:
    """What is not well, by what it is about."""
    found = await _examined(settings.model_copy(update=changed))
    return by_subject(each for each in found if each.verdict is not Verdict.OK)


def by_subject(findings: Iterator[Finding]) -> dict[str, list[Finding]]:
    told: dict[str, list[Finding]] = {}
    for each in findings:
        told.setdefault(each.about, []).append(each)
    return told


async def test_where_all_is_well_each_part_is_ok(alone: Settings) -> None:
    found = await _examined(alone)

    assert [each for each in found if each.verdict is not Verdict.OK] == []
    assert {each.about for each in found} == {
        *("settings", "TLS", "PostgreSQL", "PostgreSQL clock", "schema", "revision", "role"),
        "connections",
        *("grants", "roles", "partitions", "Redis", "Redis clock", "Kafka", "topics"),
        *("Temporal", "namespace", "search attributes", "PG"),
    }


async def test_a_right_that_is_missing_and_one_too_many_are_named_with_what_to_run(
    alone: Settings,
) -> None:
    for statement in (
        "REVOKE UPDATE (state) ON wallet_holds FROM billing_app",
        "REVOKE SELECT ON orders FROM billing_customer",
        "GRANT UPDATE ON postings TO billing_app",
        "GRANT SELECT ON payments TO PUBLIC",
    ):
        await execute(alone.database_owner_url, statement)

    found = await bad(alone)

    assert found.keys() == {"grants"}
    assert [(each.verdict, each.remedy) for each in found["grants"]] == [
        (Verdict.WRONG, f"As the owner of the tables run {statement};")
        for statement in (
            "GRANT UPDATE (state) ON wallet_holds TO billing_app",
            "GRANT SELECT ON orders TO billing_customer",
            "REVOKE SELECT ON payments FROM PUBLIC",
            "REVOKE UPDATE ON postings FROM billing_app",
        )
    ]
    for each in found["grants"]:
        await execute(alone.database_owner_url, (each.remedy or "").partition(" run ")[2])
    assert await bad(alone) == {}


async def test_a_database_without_tables_and_one_of_another_version_are_told_apart(
    alone: Settings,
) -> None:
    name = f"empty_{uuid4().hex}"
    empty = {
        field: named(getattr(alone, field), name)
        for field in ("database_url", "database_owner_url")
    }
    async with database_of_its_own(alone.database_owner_url, name):
        without = await bad(alone, **empty)
    await execute(alone.database_owner_url, "UPDATE alembic_version SET version_num = '0001'")
    await execute(alone.database_owner_url, "ALTER TABLE watches DROP COLUMN ended_at CASCADE")
    older = await bad(alone)

    assert without["schema"][0].remedy == "Run `billing migrate`."
    assert "has run is none; this version has" in without["revision"][0].says
    assert [each.says for each in older["schema"]] == ["watches.ended_at is not there."]
    [revision] = older["revision"]
    assert revision.says == (
        f"The last migration that has run is 0001; this version has {schema.head()}."
    )


@pytest.mark.parametrize(("process_", "takes"), [(Process.API, 35), (Process.WORKER, 40)])
async def test_too_few_connections_are_told_with_how_many_it_takes(
    alone: Settings, process_: Process, takes: int
) -> None:
    name = alone.database_url.rpartition("/")[2]
    await execute(alone.database_owner_url, f"ALTER DATABASE {name} CONNECTION LIMIT {takes - 1}")

    few = by_subject(iter(await _examined(alone, process_)))["connections"]
    await execute(alone.database_owner_url, f"ALTER DATABASE {name} CONNECTION LIMIT {takes}")
    enough = by_subject(iter(await _examined(alone, process_)))["connections"]

    assert [(each.verdict, each.says) for each in (*few, *enough)] == [
        (
            verdict,
            f"A process `{process_}` takes up to {takes}; PostgreSQL has {there} for all of ours.",
        )
        for verdict, there in ((Verdict.WRONG, takes - 1), (Verdict.OK, takes))
    ]


async def test_a_process_that_runs_with_the_same_settings_is_in_nobody_s_way(
    alone: Settings,
) -> None:
    """As in its pod: where it listens the examination does not."""
    with socket.create_server(("127.0.0.1", 0)) as process_:
        assert await bad(alone, temporal_metrics_port=process_.getsockname()[1]) == {}


async def test_whoever_is_not_the_applications_role_is_told(alone: Settings) -> None:
    found = await bad(alone, database_url=alone.database_owner_url)

    [role] = found["role"]
    assert role.says.startswith("We are billing_owner, which is not the role")


async def test_months_without_a_partition_are_named(settings: Settings) -> None:
    async with installation(settings) as own:
        found = await bad(own)

    [missing] = found["partitions"]
    assert missing.verdict is Verdict.WARNING
    first, _ = usage_partitions.due(await _now(settings), LATE)
    assert str(first) in missing.says


async def _now(settings: Settings) -> Any:
    async with connected(settings.database_url) as pool, pool.read(SYSTEM) as tx:
        return await clock.now(tx)


@pytest.mark.parametrize(
    ("by", "verdict"),
    [
        (timedelta(0), Verdict.OK),
        (timedelta(seconds=10), Verdict.WARNING),
        (timedelta(seconds=-10), Verdict.WARNING),
        (timedelta(days=365), Verdict.WRONG),
    ],
    ids=["right", "ahead", "behind", "of another year"],
)
async def test_a_clock_that_is_off_is_told(
    alone: Settings, by: timedelta, verdict: Verdict
) -> None:
    async with moved(alone, by) as database:
        found = by_subject(iter(await examine_database(database, LATE)))

    [told] = found["PostgreSQL clock"]
    assert told.verdict is verdict
    assert ("behind" in told.says) is (by < timedelta(0))


@contextmanager
def brokers(directory: Path, partitions: dict[str, int]) -> Iterator[str]:
    """Kafka with these topics and no others."""
    ready = directory / "kafka.ready"
    argv = [sys.executable, "-m", "dev.kafka", "--ready-file", str(ready)]
    for name, count in partitions.items():
        argv += ["--topic", f"{name}:{count}"]
    server = process.start(
        "Kafka",
        argv,
        log=directory / "kafka.log",
        ready=ready.exists,
        environment=process.python_environment(),
    )
    try:
        process.wait_until_ready([server])
        yield kafka.bootstrap_servers(directory)
    finally:
        process.stop([server])


async def test_each_topic_that_is_missing_is_named_and_one_that_is_narrow(
    alone: Settings, logs: Path
) -> None:
    gone = [Topic.INVOICE_PAID, Topic.ORDER_STEP]
    there = {str(topic): PARTITIONS for topic in TOPICS if topic not in gone} | {USAGE: 3}
    with brokers(logs, there) as address:
        found = await bad(alone, kafka_bootstrap_servers=address)

    assert found.keys() == {"topics"}
    assert {(each.verdict, each.says) for each in found["topics"]} == {
        *((Verdict.WRONG, f"{topic} is not there.") for topic in gone),
        (Verdict.WARNING, f"{USAGE} has 3 partitions; {PARTITIONS} are expected."),
    }


async def test_a_namespace_that_is_not_there_or_not_prepared_is_told(alone: Settings) -> None:
    client = await temporal.connect_later(alone)
    name = a_namespace("bare")
    without = await bad(alone, temporal_namespace=name)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=name, workflow_execution_retention_period=Duration(seconds=86_400)
        )
    )
    first, *rest = search_attributes.ALL
    request = AddSearchAttributesRequest(
        namespace=name,
        search_attributes={first.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD},
    )

    async def is_known() -> bool:
        """The server needs a moment until it believes in a namespace for which it was asked."""
        try:
            await client.operator_service.add_search_attributes(request)
        except RPCError as error:
            return error.status is RPCStatusCode.ALREADY_EXISTS
        return True

    await eventually(is_known)

    async def is_there() -> dict[str, list[Finding]]:
        found = await bad(alone, temporal_namespace=name)
        return found if len(found.get("search attributes", ())) == len(rest) else {}

    bare = await eventually(is_there)

    assert [each.says for each in without["namespace"]] == [f"{name} is not there."]
    assert bare["namespace"][0].says == (
        f"{name} keeps closed workflows for 1 days; {temporal.RETENTION.days} are needed."
    )
    assert [each.says.split()[0] for each in bare["search attributes"]] == [
        key.name for key in rest
    ]


async def test_a_server_that_is_stopped_is_named_by_its_setting_and_the_others_are_told(
    alone: Settings, logs: Path
) -> None:
    port = process.free_port()
    server = valkey.start(logs, port)
    process.wait_until_ready([server])
    before = await bad(alone, redis_url=valkey.url(port))
    process.stop([server])
    nobody = f"127.0.0.1:{closed_port()}"

    after = await bad(alone, redis_url=valkey.url(port))
    alone_ = await bad(
        alone,
        redis_url=f"redis://{nobody}/0",
        database_url=f"postgresql://billing_app@{nobody}/billing",
        kafka_bootstrap_servers=nobody,
        temporal_address=nobody,
        gateway_url=f"http://{nobody}",
    )

    assert before == {}
    assert after.keys() == {"REDIS_URL"}
    assert alone_.keys() == {
        *("REDIS_URL", "DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "TEMPORAL_ADDRESS"),
        "GATEWAY_URL",
    }
    assert all(each.verdict is Verdict.WRONG and each.remedy for [each] in alone_.values())


async def test_what_production_refuses_is_told_a_sentence_each_for_the_process_it_is_about(
    settings: Settings,
) -> None:
    bare = {"billing_environment": "production", "api_key_secrets": settings.api_key_secrets}
    api, worker = [
        [
            each
            for each in await _examined(settings.model_copy(update=bare), process_)
            if each.about == "settings"
        ]
        for process_ in (Process.API, Process.WORKER)
    ]

    assert {each.verdict for each in (*api, *worker)} == {Verdict.WRONG}
    assert any("OIDC_ISSUERS" in each.says for each in api)
    assert not any("OIDC_ISSUERS" in each.says for each in worker)
    assert any("PAYLOAD_KEYS" in each.says for each in worker)


async def test_no_secret_is_ever_told() -> None:
    """Nowhere is anybody, and some addresses cannot even be read."""
    port = closed_port()
    secret = "5ecret"
    hidden = {
        **READY,
        "gateway_webhook_secret": secret,
        "cursor_secret": secret,
        "api_key_secrets": f"name:{secret}",
        "payload_keys": f"id:{secret}",
        "kafka_sasl_username": "billing",
        "kafka_sasl_password": secret,
        "kafka_bootstrap_servers": f"127.0.0.1:{port}",
        "temporal_api_key": secret,
        "temporal_address": f"127.0.0.1:{port}",
        "gateway_url": f"https://billing:{secret}@127.0.0.1:{port}",
        "oidc_issuers": [],
    }
    for database_url, redis_url in (
        (f"postgresql://a:{secret}@127.0.0.1:{port}/b", f"redis://:{secret}@127.0.0.1:{port}/0"),
        (f"postgresql://a:b@c:{secret}/b", f"redis://a:{secret}#@c/0"),
        (f"{secret}", f"{secret}"),
    ):
        found = await _examined(
            Settings.model_validate(
                {**hidden, "database_url": database_url, "redis_url": redis_url}
            )
        )
        assert [each for each in found if each.verdict is Verdict.WRONG]
        assert secret not in str(found)


def test_the_readme_promises_the_servers_that_are_asked_for() -> None:
    readme = (Path(schema.MIGRATIONS).parent / "README.md").read_text()
    for name, least in LEAST.items():
        assert f"{name}** ({least} or later" in readme
