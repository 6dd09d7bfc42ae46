"""A real Kafka without Docker: one node of Apache Kafka (KRaft), from the jars of Maven Central.

For what the stand-in of `dev.kafka` cannot show: topics that are not there and are made, groups of
either protocol, rights, and a disk that outlives `kill -9`. It needs Java and Maven.
"""

import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dev import process
from dev.process import Server

POM = Path(__file__).with_name("kafka") / "pom.xml"
JARS = Path(__file__).parents[2] / ".venv"
"""Below it lie the jars, once they are fetched."""
JAVA = 17
"""The oldest that its broker runs with."""
COPY = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"
CLUSTER = "ZHVyYWJsZS1iaWxsaW5nCg"

USER, PASSWORD = "billing", "only for tests"
"""Who may log in at the second address."""

_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": (
        "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"
    ),
    # Who comes without a name may do everything; who logs in, what a list says.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'user_{USER}="{PASSWORD}";'
    ),
    # One node keeps what three would.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # As docs/operations.md asks for it.
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "1000",
    "auto.create.topics.enable": "false",
}
_QUICK = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

_silent = logging.getLogger("librdkafka.probe")
_silent.addFilter(lambda record: False)
_silent.propagate = False


def why_not() -> str | None:
    """What is missing on this machine, if anything is."""
    if shutil.which("mvn") is None:
        return "mvn is not here"
    java = shutil.which("java")
    said = subprocess.run([java, "-version"], capture_output=True, text=True) if java else None
    versions = re.findall(r'version "(\d+)', said.stderr) if said else []
    if not versions or int(versions[0]) < JAVA:
        return f"no Java {JAVA} is here"
    return None


def jars(home: Path) -> Path:
    """A folder with the jars, below `home`; they are fetched once. Raises StackError where they
    cannot be had."""
    [version] = re.findall("kafka_2.13</artifactId>\\s*<version>(.*)</version>", POM.read_text())
    folder = home / f"kafka-{version}"
    if folder.exists():
        return folder
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, ignore_cleanup_errors=True) as name:
        half = Path(name) / "jars"
        # Its folder `target` is made where the pom lies.
        pom = shutil.copy(POM, name)
        process.run(
            ["mvn", "-B", "-C", "-f", pom, COPY, f"-DoutputDirectory={half}"],
            log=home / "mvn.log",
        )
        try:  # Whole or not at all, also for who ends this in the middle.
            half.rename(folder)
        except OSError:
            if not folder.exists():  # Another process was faster.
                raise
    return folder


@dataclass(frozen=True)
class Ports:
    """Where it listens: for everybody, for who logs in, and for itself."""

    plain: int
    sasl: int
    controller: int

    @staticmethod
    def free() -> "Ports":
        """Three on which nobody listens."""
        found = set[int]()
        while len(found) < 3:
            found.add(process.free_port())
        return Ports(*found)


def start(
    directory: Path, libraries: Path, ports: Ports, settings: Mapping[str, str] = {}
) -> Server:
    """Start a broker; its data and its log stay in `directory`, from which it can be started again.
    `settings` are its own, beside or instead of what it usually has."""
    data = directory / "kafka"
    java = ["java", *_QUICK, "-cp", f"{libraries}/*"]
    properties = directory / "kafka.properties"
    listeners = {
        "PLAINTEXT": ports.plain,
        "SASL_PLAINTEXT": ports.sasl,
        "CONTROLLER": ports.controller,
    }
    told = {
        **_SETTINGS,
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
        "controller.quorum.voters": f"1@127.0.0.1:{ports.controller}",
        "log.dirs": str(data),
        **settings,
    }

    def prepare() -> None:
        properties.write_text("".join(f"{name}={value}\n" for name, value in told.items()))
        if not data.exists():
            format_ = ["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(properties)]
            process.run([*java, *format_], log=directory / "kafka-format.log")

    return process.start(
        "Kafka",
        [*java, "kafka.Kafka", str(properties)],
        log=directory / "kafka.log",
        ready=lambda: _answers(ports.plain),
        prepare=prepare,
    )


def _answers(port: int) -> bool:
    """It says who it is, as clients ask for it."""
    if not process.is_listening(port):
        return False
    try:
        asking = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"}, logger=_silent)
        return bool(asking.list_topics(timeout=1).brokers)
    except KafkaException:
        return False
