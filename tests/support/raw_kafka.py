"""A request to produce written by hand: what no client library of ours would send."""

import socket
import struct
from collections.abc import Sequence

from confluent_kafka import Producer

PRODUCE, VERSION = 0, 7
ZSTD = 4
"""The bits of a batch's attributes that say how its records are packed."""


def record(
    value: bytes | None,
    key: bytes | None = None,
    headers: Sequence[tuple[bytes, bytes | None]] = (),
) -> bytes:
    """The first record of a batch."""
    body = b"\0" + _varint(0) + _varint(0) + _sized(key) + _sized(value) + _varint(len(headers))
    body += b"".join(_sized(name) + _sized(said) for name, said in headers)
    return _varint(len(body)) + body


def batch(records: bytes, count: int = 1, attributes: int = 0, timestamp: int = 0) -> bytes:
    """A batch of records, format 2. Its checksum is wrong: the mock cluster reads none."""
    body = struct.pack(">hiqqqhii", attributes, count - 1, timestamp, timestamp, -1, -1, -1, count)
    body = struct.pack(">ibI", 0, 2, 0) + body + records
    return struct.pack(">qi", 0, len(body)) + body


def produce(bootstrap_servers: str, topic: str, partition: int, records: bytes) -> int:
    """Have a batch appended; returns its first offset."""
    metadata = Producer({"bootstrap.servers": bootstrap_servers}).list_topics(topic, timeout=10)
    leader = metadata.brokers[metadata.topics[topic].partitions[partition].leader]
    name = topic.encode()
    request = struct.pack(">hhih", PRODUCE, VERSION, 1, -1)
    request += struct.pack(">hhii", -1, -1, 5000, 1)
    request += struct.pack(">h", len(name)) + name
    request += struct.pack(">iii", 1, partition, len(records)) + records
    with socket.create_connection((leader.host, leader.port), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb")
        (size,) = struct.unpack(">i", answer.read(4))
        said = answer.read(size)
    # correlation id, topics, name, partitions, partition, error, base offset, ...
    error, offset = struct.unpack_from(">hq", said, 4 + 4 + 2 + len(name) + 4 + 4)
    assert error == 0, f"the broker answered with error {error}"
    return int(offset)


def _sized(value: bytes | None) -> bytes:
    return _varint(-1) if value is None else _varint(len(value)) + value


def _varint(number: int) -> bytes:
    """Zigzag, seven bits a byte, the lowest first."""
    left = (number << 1) ^ (number >> 63)
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*found, left])
