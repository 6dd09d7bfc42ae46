"""A real broker, its administrator, and what tests do to it."""

import logging
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from dev import process
from dev.process import Server, StackError
from dev.real import kafka
from domain.event import PARTITIONS
from runtime.settings import Settings
from tests.support.conditions import eventually_beside_the_loop

UNTESTED = "NOT TESTED against a real Kafka"
CLASSIC, BOTH = "classic", "classic,consumer"
"""By which protocols groups may be formed."""


@dataclass
class Broker:
    """One that is alive, unless a test has just killed it."""

    directory: Path
    libraries: Path
    ports: kafka.Ports
    protocols: str
    server: Server
    rights: "list[Right]" = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports.plain}"

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.address}, logger=logging.getLogger("admin"))

    def knowing(self, protocols: str) -> None:
        """From now on groups may be formed by these."""
        if protocols != self.protocols:
            self.kill()  # It stops more slowly than it starts.
            self.protocols = protocols
            self.start()

    def kill(self) -> None:
        """As a machine that loses its power."""
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()

    def start(self) -> None:
        """Again, on the same disk."""
        self.spawn()
        process.wait_until_ready([self.server])

    def spawn(self) -> None:
        """The same, without waiting for it."""
        self.server = started(self.directory, self.libraries, self.ports, self.protocols)

    def as_user(self, settings: Settings) -> Settings:
        """What somebody is told who has to log in, and may do what lists say."""
        return Settings.model_validate(
            {
                **settings.model_dump(),
                "kafka_bootstrap_servers": f"127.0.0.1:{self.ports.sasl}",
                "kafka_security_protocol": "SASL_PLAINTEXT",
                "kafka_sasl_mechanism": "PLAIN",
                "kafka_sasl_username": kafka.USER,
                "kafka_sasl_password": kafka.PASSWORD,
            }
        )

    def topics(self) -> dict[str, int]:
        """Their partitions, by name, of those that are ours."""
        found = self.admin.list_topics(timeout=30).topics
        return {
            name: len(topic.partitions)
            for name, topic in found.items()
            if name.startswith("billing.") and topic.error is None
        }

    def make(self, topics: Iterable[str], partitions: int = PARTITIONS) -> None:
        wanted = [NewTopic(str(name), partitions, 1) for name in topics]
        _all(self.admin.create_topics(wanted))

    def forget_everything(self) -> None:
        """No topic of ours, and nobody has a right."""
        if there := [*self.topics()]:
            _all(self.admin.delete_topics(there))
        if self.rights:
            _all(self.admin.delete_acls([AclBindingFilter(*each) for each in self.rights]))
            self.rights.clear()

    def allow(self, operation: AclOperation, topics: Iterable[str]) -> None:
        """Who logs in may do this to these topics from now on; `*`: to all."""
        rights = [_right(operation, str(topic)) for topic in topics]
        _all(self.admin.create_acls([AclBinding(*each) for each in rights]))
        self.rights += rights
        for each in rights:  # What is written down is in force a moment later.
            eventually_beside_the_loop(partial(self._is_in_force, each))

    def _is_in_force(self, right: "Right") -> bool:
        return bool(self.admin.describe_acls(AclBindingFilter(*right)).result())

    def settings_of(self, topic: str) -> Mapping[str, str]:
        which = ConfigResource(ResourceType.TOPIC, topic)
        [found] = _all(self.admin.describe_configs([which]))
        return {name: entry.value for name, entry in found.items()}


Right = tuple[ResourceType, str, ResourcePatternType, str, str, AclOperation, AclPermissionType]
"""Which thing, who, from where, may do what."""


def _right(operation: AclOperation, topic: str) -> Right:
    what = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL)
    return *what, f"User:{kafka.USER}", "*", operation, AclPermissionType.ALLOW


def _all(futures: Mapping[Any, Any]) -> list[Any]:
    return [future.result() for future in futures.values()]


def started(directory: Path, libraries: Path, ports: kafka.Ports, protocols: str) -> Server:
    told = {"group.coordinator.rebalance.protocols": protocols}
    return kafka.start(directory, libraries, ports, told)


@contextmanager
def broker(directory: Path) -> Iterator[Broker]:
    """Skips, loudly, where there can be none."""
    if missing := kafka.why_not():
        pytest.skip(f"{UNTESTED}: {missing}")
    try:
        libraries = kafka.jars(kafka.JARS)
    except StackError as error:
        pytest.skip(f"{UNTESTED}: {error}")
    ports = kafka.Ports.free()
    made = Broker(directory, libraries, ports, BOTH, started(directory, libraries, ports, BOTH))
    try:
        process.wait_until_ready([made.server])
        yield made
    finally:
        process.stop([made.server])
