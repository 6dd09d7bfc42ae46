"""Whether a process with these settings could do its work here: every part is looked at, all at
once, and each finding is a sentence with what to do. Reads, and changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from confluent_kafka import KafkaException
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain import finding
from domain.access import SYSTEM
from domain.event import PARTITIONS, TOPICS
from domain.finding import Finding, ok, warning, wrong
from runtime import connections, keys, parts, schema, temporal, topics, usage_partitions
from runtime.addresses import unusable
from runtime.issuer import LOOPBACK
from runtime.production import in_plain_text, require_api, require_auth, require_worker
from runtime.settings import ConfigurationError, Settings
from service.asking import Silence, asked
from store import clock, database, grants, server, usage
from store.database import Database, Transaction
from store.grants import Grant
from workflows import search_attributes

SECONDS = 5.0
"""How long each part may take."""
SIGN_SECONDS = 2.0
LEAST = {"PostgreSQL": "15", "Redis": "7", "Temporal": "1.29"}
"""The oldest servers that the README promises."""
TAKEOVER = timedelta(seconds=10)
SHOWN = 10
OURS = frozenset({*grants.ROLES, grants.PUBLIC})
AS_OWNER = "As the owner of the tables run"

Findings = list[Finding]


class Process(StrEnum):
    """Whose settings these are: each needs some of its own."""

    API = "api"
    WORKER = "worker"
    AUTH = "auth"


_REQUIRE = {
    Process.API: require_api,
    Process.WORKER: require_worker,
    Process.AUTH: require_auth,
}


_TAKES: Mapping[Process, Callable[[Settings], int]] = {
    Process.API: connections.of_api,
    Process.WORKER: connections.of_worker,
    Process.AUTH: connections.of_issuer,
}


async def examine(
    settings: Settings,
    process: Process,
    tell: Callable[[str, Findings], None],
    still_asking: Callable[[list[str]], None],
) -> None:
    """Tell what each part came to, when it is known; now and then who has not answered yet."""
    looks = {
        asyncio.create_task(_found(name, look)): name
        for name, look in _looks(settings, process).items()
    }
    waiting = set(looks)
    while waiting:
        done, waiting = await asyncio.wait(
            waiting, timeout=SIGN_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for each in sorted(done, key=[*looks].index):
            tell(looks[each], each.result())
        if not done:
            still_asking([name for task, name in looks.items() if task in waiting])


def _looks(settings: Settings, process: Process) -> Mapping[str, Awaitable[Findings]]:
    """What is looked at, by the setting that leads there."""
    own = {
        "settings": _at_once(configuration(settings, process)),
        "DATABASE_URL": _database(settings, process),
        "REDIS_URL": _cache(settings),
        "KAFKA_BOOTSTRAP_SERVERS": _brokers(settings),
        "TEMPORAL_ADDRESS": _temporal(settings),
        "GATEWAY_URL": _reachable("PG", settings.gateway_url),
    }
    if "database_owner_url" in settings.model_fields_set:
        own["DATABASE_OWNER_URL"] = _revision(settings.database_owner_url)
    theirs = {
        f"OIDC_ISSUERS {each.alias}": _reachable(f"issuer {each.alias}", each.issuer)
        for each in settings.oidc_issuers
        if each.jwks_file is None
    }
    return own | theirs


async def _found(name: str, look: Awaitable[Findings]) -> Findings:
    found = await asked(look, SECONDS)
    if not isinstance(found, Silence):
        return found
    return [wrong(name, f"What it leads to cannot be used: {found.why}.", _reach(name))]


def _reach(name: str) -> str:
    return f"See that it runs, that this machine reaches it, and that {name} is right."


async def _at_once(found: Iterable[Finding]) -> Findings:
    return list(found)


def configuration(settings: Settings, process: Process) -> Iterator[Finding]:
    """What the process itself would refuse, and what is spoken in plain text."""
    mend = "Set it as docs/operations.md says; the process does not start before."
    try:
        keys.ring(settings)
        _REQUIRE[process](settings)
    except ConfigurationError as error:
        for sentence in str(error).splitlines():
            yield wrong("settings", sentence, mend)
    else:
        yield ok(
            "settings",
            f"A process `{process}` starts with them, in {settings.billing_environment}.",
        )
    yield from _encryption(settings)


def _encryption(settings: Settings) -> Iterator[Finding]:
    if any(unusable(settings)):
        return  # Said already.
    clear = list(in_plain_text(settings))
    allowed = LOOPBACK | set(settings.allow_plaintext)
    for name, host, remedy in clear:
        if host not in allowed:
            yield warning("TLS", f"{name} speaks to {host} in plain text.", f"{remedy}.")
    if not clear:
        yield ok("TLS", "Every server is spoken to with it.")
    elif all(host in allowed for _, host, _ in clear):
        names = ", ".join(sorted({name for name, _, _ in clear}))
        yield ok("TLS", f"Off for {names}: on loopback, or allowed by ALLOW_PLAINTEXT.")


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Database]:
    pool = database.connect(url, 1, SECONDS)
    try:
        yield pool
    finally:
        await pool.dispose()


async def _database(settings: Settings, process: Process) -> Findings:
    async with _connected(settings.database_url) as pool:
        async with pool.statements(SYSTEM) as tx:
            room = _room(process, _TAKES[process](settings), await server.room(tx))
        return [*await examine_database(pool, settings.usage_late), room]


def _room(process: Process, takes: int, there: int) -> Finding:
    says = f"A process `{process}` takes up to {takes}; PostgreSQL has {there} for all of ours."
    if takes <= there:
        return ok("connections", says)
    return wrong(
        "connections",
        says,
        "Raise max_connections, or the limit of the role or database; or lower DATABASE_POOL_SIZE.",
    )


async def examine_database(pool: Database, late: timedelta) -> Findings:
    """PostgreSQL as the application sees it. What is told by tables that are not there is left
    out."""
    async with pool.statements(SYSTEM) as tx:
        before = datetime.now(UTC)
        at = await clock.now(tx)
        found = [
            finding.version(
                "PostgreSQL", "PostgreSQL", await server.version(tx), LEAST["PostgreSQL"]
            ),
            finding.clock("PostgreSQL clock", _ahead(at, before)),
        ]
        if found[0].verdict is not finding.Verdict.OK:
            return found
        if missing := await server.missing_columns(tx):
            return [*found, *_missing(missing)]
        return [
            *found,
            ok("schema", "Every table and column of this version is there."),
            *await _user(tx),
            *_grants(await grants.found(tx)),
            *_roles(await grants.roles(tx)),
            *await _partitions(tx, at, late),
        ]


def _ahead(at: datetime, before: datetime) -> timedelta:
    """How far a clock is ahead of this machine's, which was asked before, and is asked now: what
    lies between the two is the way there and back."""
    after = datetime.now(UTC)
    return at - min(max(at, before), after)


def _missing(names: list[str]) -> Iterator[Finding]:
    for name in names[:SHOWN]:
        yield wrong("schema", f"{name} is not there.", "Run `billing migrate`.")
    if left := len(names) - SHOWN:
        yield from _more("schema", left, "Run `billing migrate`.")


def _more(about: str, left: int, remedy: str) -> Iterator[Finding]:
    if left > 0:
        yield wrong(about, f"And {left} more.", remedy)


async def _user(tx: Transaction) -> Findings:
    name = await server.user(tx)
    if name == grants.APPLICATION:
        return [ok("role", f"We are {name}.")]
    return [
        wrong(
            "role",
            f"We are {name}, which is not the role that the migrations give rights to.",
            f"Name {grants.APPLICATION} in DATABASE_URL.",
        )
    ]


def _grants(found: frozenset[Grant]) -> Iterator[Finding]:
    missing = sorted(grants.EXPECTED - found)
    surplus = sorted(each for each in found - grants.EXPECTED if each.role in OURS)
    for each in missing[:SHOWN]:
        yield wrong(
            "grants", f"{each.role} lacks {each}.", f"{AS_OWNER} GRANT {each} TO {each.role};"
        )
    for each in surplus[:SHOWN]:
        yield wrong(
            "grants",
            f"{each.role} has {each}, which it should not have.",
            f"{AS_OWNER} REVOKE {each} FROM {each.role};",
        )
    left = max(0, len(missing) - SHOWN) + max(0, len(surplus) - SHOWN)
    yield from _more("grants", left, "Run `billing migrate`, then this again.")
    if not missing and not surplus:
        yield ok("grants", f"All {len(grants.EXPECTED)} are as the migrations give them.")


def _roles(found: Mapping[str, grants.Role]) -> Iterator[Finding]:
    remedy = "Give and take it as the README does (Against real servers)."
    for name, wanted in grants.ROLES.items():
        role = found.get(name)
        if role is None:
            yield wrong("roles", f"The role {name} is not there.", remedy)
            continue
        for right in sorted(role.rights):
            yield wrong("roles", f"{name} may have {right}, which it should not.", remedy)
        if role.logs_in is not wanted.logs_in:
            may = "log in" if wanted.logs_in else "not log in"
            yield wrong("roles", f"{name} should {may}.", remedy)
        if role.takes_on != wanted.takes_on:
            whose = ", ".join(sorted(each for each, _, _ in wanted.takes_on)) or "nobody"
            yield wrong("roles", f"{name} should be able to become {whose}, no more.", remedy)
    if found == grants.ROLES:
        yield ok("roles", "They may do nothing beside that.")


async def _partitions(tx: Transaction, now: datetime, late: timedelta) -> Findings:
    missing = await usage.without_partition(tx, *usage_partitions.due(now, late))
    if not missing:
        return [ok("partitions", "Every month of usage that may come has its own.")]
    months = ", ".join(map(str, missing[:SHOWN]))
    return [
        warning(
            "partitions",
            f"{len(missing)} months of usage have none: {months}{' …' if missing[SHOWN:] else ''}.",
            "Start a worker, which makes them; its log says why it cannot.",
        )
    ]


async def _revision(owner_url: str) -> Findings:
    async with _connected(owner_url) as pool, pool.statements(SYSTEM) as tx:
        there, head = await server.revision(tx), schema.head()
    if there == head:
        return [ok("revision", f"The last migration that has run is {head}, the newest.")]
    return [
        wrong(
            "revision",
            f"The last migration that has run is {there or 'none'}; this version has {head}.",
            "Run `billing migrate`, or install the version that the database is of.",
        )
    ]


async def _cache(settings: Settings) -> Findings:
    before = datetime.now(UTC)
    cache = await parts.ask_cache(settings.redis_url, SECONDS)
    return [
        ok("Redis", f"{cache.name} {cache.version} answers."),
        finding.version("Redis", "Redis", cache.speaks, LEAST["Redis"]),
        finding.clock("Redis clock", _ahead(cache.at, before)),
    ]


async def _brokers(settings: Settings) -> Findings:
    brokers = await parts.ask_brokers(settings.kafka, SECONDS)
    missing = topics.missing(brokers.partitions)
    refused, takeover = await asyncio.gather(
        topics.could_not(settings, missing, 0.5 * SECONDS),
        parts.ask_takeover(settings.kafka, 0.5 * SECONDS),
    )
    return [
        ok("Kafka", f"{brokers.count} brokers answer."),
        *_takeover(takeover),
        *_missing_topics(missing, refused),
        *_uneven_topics(topics.uneven(brokers.partitions)),
        *([] if missing else [ok("topics", f"All {len(TOPICS)} are there.")]),
    ]


def _takeover(found: timedelta | None) -> Iterator[Finding]:
    """How long a worker that died keeps its partitions; None where the brokers do not say."""
    if found is None:
        return
    says = f"What a dead worker reads goes to another one after {found.total_seconds():g} s."
    if found <= TAKEOVER:
        yield ok("Kafka", says)
    else:
        yield warning(
            "Kafka",
            says,
            "Set group.consumer.min.session.timeout.ms and group.consumer.session.timeout.ms to "
            "6000 on the brokers.",
        )


def _missing_topics(missing: list[str], refused: Mapping[str, KafkaException]) -> Iterator[Finding]:
    for topic in missing:
        remedy = "Start a worker, which makes it."
        if topic in refused:
            why = refused[topic].args[0].str()
            remedy = f"Make it with {PARTITIONS} partitions; a worker cannot: {why}"
        yield wrong("topics", f"{topic} is not there.", remedy)


def _uneven_topics(found: Mapping[str, int]) -> Iterator[Finding]:
    for topic, count in found.items():
        yield warning(
            "topics",
            f"{topic} has {count} partitions; {PARTITIONS} are expected.",
            "Make it anew while nothing waits in it, or live with less at a time.",
        )


async def _temporal(settings: Settings) -> Findings:
    client = await temporal.connect_later(settings.beside())
    info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    found = [finding.version("Temporal", "Temporal", info.server_version, LEAST["Temporal"])]
    try:
        return [*found, *await _namespace(client)]
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        remedy = "Start any process of ours, which makes it, or have whoever may make it."
        return [*found, wrong("namespace", f"{client.namespace} is not there.", remedy)]


async def _namespace(client: Client) -> Findings:
    said, attributes = await asyncio.gather(
        client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        ),
        client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        ),
    )
    kept = said.config.workflow_execution_retention_ttl.ToTimedelta()
    return [*_retention(client.namespace, kept), *_attributes(attributes.custom_attributes)]


def _retention(namespace: str, kept: timedelta) -> Iterator[Finding]:
    days = f"{kept / timedelta(days=1):g} days"
    if kept >= temporal.RETENTION:
        yield ok("namespace", f"{namespace} keeps closed workflows for {days}.")
        return
    yield wrong(
        "namespace",
        f"{namespace} keeps closed workflows for {days}; {temporal.RETENTION.days} are needed.",
        "Start any process of ours, which sets it, or have whoever may set it.",
    )


def _attributes(found: Mapping[str, "IndexedValueType.ValueType"]) -> Iterator[Finding]:
    missing = [
        key.name
        for key in search_attributes.ALL
        if found.get(key.name) != IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    ]
    for name in missing:
        yield wrong(
            "search attributes",
            f"{name} is not there as a Keyword: a workflow that sets it would hang.",
            "Start any process of ours, which registers it, or `temporal operator "
            f"search-attribute create --name {name} --type Keyword`.",
        )
    if not missing:
        yield ok("search attributes", f"All {len(search_attributes.ALL)} are there.")


async def _reachable(name: str, url: str) -> Findings:
    """Somebody takes connections there: a PG and an issuer are asked nothing."""
    parts_ = urlsplit(url)
    port = parts_.port or (443 if parts_.scheme == "https" else 80)
    _, writer = await asyncio.open_connection(parts_.hostname, port)
    writer.close()
    return [ok(name, f"{parts_.hostname}:{port} takes connections.")]
