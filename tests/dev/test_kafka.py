from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer

from dev import kafka, process
from dev.process import StackError
from tests.support.conditions import PATIENCE_SECONDS

TOPIC = "billing.payment.completed"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("kafka")
    server = kafka.start(directory, [TOPIC, "billing.order.created"])
    try:
        process.wait_until_ready([server])
        yield directory
    finally:
        process.stop([server])


def producer(directory: Path, **settings: object) -> Producer:
    servers = kafka.bootstrap_servers(directory)
    settings = {"enable.idempotence": True, "log_level": 0} | settings
    return Producer({"bootstrap.servers": servers, **settings})


def deliver(sender: Producer, key: str) -> Message:
    """Send one message and return it as acknowledged; raises KafkaException if it was not."""
    delivered: list[Message] = []

    def on_delivery(error: object, message: Message) -> None:
        if error is not None:
            raise KafkaException(error)
        delivered.append(message)

    headers: list[tuple[str, str | bytes | None]] = [("ce_id", b"1")]
    sender.produce(TOPIC, key=key, value=b"{}", headers=headers, on_delivery=on_delivery)
    assert sender.flush(PATIENCE_SECONDS) == 0
    return delivered[0]


def test_the_topics_have_twelve_partitions(directory: Path) -> None:
    topics = producer(directory).list_topics(timeout=PATIENCE_SECONDS).topics

    assert {name: len(topic.partitions) for name, topic in topics.items()} == {
        TOPIC: 12,
        "billing.order.created": 12,
    }


def test_a_consumer_group_reads_what_was_produced(directory: Path) -> None:
    sent = deliver(producer(directory), "p-1")
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers(directory),
            "group.id": "readers",
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([TOPIC])
        messages = iter(lambda: consumer.poll(PATIENCE_SECONDS), None)
        read = next(each for each in messages if each.key() == b"p-1")
    finally:
        consumer.close()

    assert (read.partition(), read.offset()) == (sent.partition(), sent.offset())
    assert read.headers() == [("ce_id", b"1")]


def test_a_message_waits_until_the_brokers_are_back(directory: Path) -> None:
    sender = producer(directory, **{"reconnect.backoff.max.ms": 200})
    deliver(sender, "before")
    for broker in range(1, kafka.BROKERS + 1):
        kafka.control(directory, f"down {broker}")
    sender.produce(TOPIC, key="meanwhile", value=b"{}")
    assert sender.flush(0.2) == 1

    for broker in range(1, kafka.BROKERS + 1):
        kafka.control(directory, f"up {broker}")
    assert sender.flush(PATIENCE_SECONDS) == 0


def test_an_injected_error_is_answered_once(directory: Path) -> None:
    # INVALID_REQUIRED_ACKS of Produce: the client does not try such a request again.
    kafka.control(directory, "errors 0 21 1")
    with pytest.raises(KafkaException, match="INVALID_REQUIRED_ACKS"):
        deliver(producer(directory, **{"enable.idempotence": False}), "refused")

    deliver(producer(directory), "accepted")


@pytest.mark.parametrize("command", ["explode", "down", "down 99", "down one"])
def test_a_command_it_does_not_know_is_refused(directory: Path, command: str) -> None:
    with pytest.raises(StackError, match=f"Kafka cannot do '{command}'"):
        kafka.control(directory, command)
