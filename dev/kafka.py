"""Kafka's protocol without a broker: the mock cluster inside librdkafka, in a process of its own.

    python -m dev.kafka --ready-file FILE --topic NAME:PARTITIONS ...

Volatile: after a restart the addresses are new and the topics are empty. Use
`group.protocol=consumer`: with the classic protocol a member that joins again waits for the old
session to end. Faults are injected by `control`.
"""

import argparse
import ctypes
import ctypes.util
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dev import process
from dev.process import Server, StackError

BROKERS = 3
PARTITIONS = 12


def start(directory: Path, topics: Sequence[str], partitions: Mapping[str, int] = {}) -> Server:
    """Start three brokers with these topics; log and ready file go into `directory`. `partitions`:
    how many a topic has, if not the usual number."""
    ready_file = _ready_file(directory)
    argv = [sys.executable, "-m", "dev.kafka", "--ready-file", str(ready_file)]
    for topic in topics:
        argv += ["--topic", f"{topic}:{partitions.get(topic, PARTITIONS)}"]
    return process.start(
        "Kafka",
        argv,
        log=directory / "kafka.log",
        ready=ready_file.exists,
        prepare=lambda: ready_file.unlink(missing_ok=True),
        environment=process.python_environment(),
    )


def bootstrap_servers(directory: Path) -> str:
    """The brokers' addresses, once the server is ready."""
    return _ready_file(directory).read_text().splitlines()[0]


def control(directory: Path, command: str) -> None:
    """Inject a fault, and return when it is in force; raises StackError for an unknown command.

    `down 1` and `up 1` disconnect and reconnect broker 1 (of 1-3); `rtt 1 200` delays its answers
    by 200 ms; `errors 0 7 3` fails the next 3 requests of API key 0 (Produce) with Kafka's error
    code 7 (REQUEST_TIMED_OUT); `topic_error NAME 3` says of a topic that it does not exist, until
    `topic_error NAME 0`; `forget 68` is to be too old for API key 68 from now on.
    """
    host, port = _ready_file(directory).read_text().splitlines()[1].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(command.encode() + b"\n")
        answer = connection.makefile().readline().strip()
    if answer != "ok":
        raise StackError(f"Kafka cannot do {command!r}: {answer}.")


class MockCluster:
    """librdkafka's mock cluster; it lives as long as this process."""

    def __init__(self, brokers: int) -> None:
        self._library = _load_librdkafka()
        message = ctypes.create_string_buffer(512)
        client = self._library.rd_kafka_new(0, None, message, len(message))
        if not client:
            raise StackError(f"librdkafka cannot start: {message.value.decode()}.")
        self._cluster = ctypes.c_void_p(self._library.rd_kafka_mock_cluster_new(client, brokers))
        # Milliseconds; with the server's defaults a killed consumer's partitions rest for 30 s.
        self._call("rd_kafka_mock_set_group_consumer_session_timeout_ms", ctypes.c_int(3000))
        self._call("rd_kafka_mock_set_group_consumer_heartbeat_interval_ms", ctypes.c_int(300))

    def bootstrap_servers(self) -> str:
        """The brokers' addresses as clients take them."""
        addresses: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return addresses.decode()

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """Create topics, by name with their number of partitions, replicated to every broker."""
        with self._awake():
            for name, count in partitions.items():
                function = "rd_kafka_mock_topic_create"
                self._call(function, name.encode(), ctypes.c_int(count), ctypes.c_int(BROKERS))

    def set_down(self, broker: int) -> None:
        """Close the broker's connections and refuse new ones."""
        self._call("rd_kafka_mock_broker_set_down", ctypes.c_int32(broker))

    def set_up(self, broker: int) -> None:
        """Let a broker accept connections again."""
        self._call("rd_kafka_mock_broker_set_up", ctypes.c_int32(broker))

    def set_round_trip(self, broker: int, milliseconds: int) -> None:
        """Delay every answer of a broker."""
        name = "rd_kafka_mock_broker_set_rtt"
        self._call(name, ctypes.c_int32(broker), ctypes.c_int(milliseconds))

    def fail_requests(self, api_key: int, error_code: int, count: int) -> None:
        """Answer the next `count` requests of this API key with an error code of Kafka."""
        errors = (ctypes.c_int * count)(*[error_code] * count)
        name = "rd_kafka_mock_push_request_errors_array"
        self._call(name, ctypes.c_int16(api_key), ctypes.c_size_t(count), errors)

    def forget_api(self, api_key: int) -> None:
        """From now on be brokers that are too old to know this API key."""
        none = ctypes.c_int16(-1)
        name = "rd_kafka_mock_set_apiversion"
        self._call(name, ctypes.c_int16(api_key), none, none)

    def set_topic_error(self, name: str, error_code: int) -> None:
        """Answer whoever asks for a topic's partitions with an error code of Kafka; 0 is none."""
        function = "rd_kafka_mock_topic_set_error"
        self._call(function, name.encode(), ctypes.c_int(error_code))

    @contextmanager
    def _awake(self) -> Iterator[None]:
        """Let commands through at once: the cluster's thread may sleep a second on each of them.

        It misses a wake-up now and then, but not a new connection.
        """
        host, port = self.bootstrap_servers().split(",")[0].split(":")
        done = threading.Event()

        def connect_again_and_again() -> None:
            while not done.wait(0.01):
                with suppress(OSError):
                    socket.create_connection((host, int(port))).close()

        thread = threading.Thread(target=connect_again_and_again)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _call(self, function: str, *arguments: object) -> None:
        error = getattr(self._library, function)(self._cluster, *arguments)
        if error:
            raise StackError(f"{function} failed with error {error}.")


def main() -> None:
    """Run the cluster until the process is terminated."""
    parser = argparse.ArgumentParser(prog="python -m dev.kafka")
    parser.add_argument("--ready-file", type=Path, required=True, help="receives the addresses")
    parser.add_argument("--topic", action="append", default=[], metavar="NAME:PARTITIONS")
    arguments = parser.parse_args()
    topics = [topic.rpartition(":") for topic in arguments.topic]
    try:
        cluster = MockCluster(BROKERS)
        cluster.create_topics({name: int(partitions) for name, _, partitions in topics})
    except StackError as error:
        sys.exit(str(error))
    with socketserver.TCPServer(("127.0.0.1", 0), _control_handler(cluster)) as server:
        host, port = server.server_address[:2]
        lines = f"{cluster.bootstrap_servers()}\n{host!s}:{port}\n"
        process.write_atomically(arguments.ready_file, lines)
        server.serve_forever()


def _control_handler(cluster: MockCluster) -> type[socketserver.StreamRequestHandler]:
    commands: dict[str, Callable[..., None]] = {
        "down": cluster.set_down,
        "up": cluster.set_up,
        "rtt": cluster.set_round_trip,
        "errors": cluster.fail_requests,
        "topic_error": cluster.set_topic_error,
        "forget": cluster.forget_api,
    }

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            name, *arguments = self.rfile.readline().decode().split()
            try:
                commands[name](*(int(each) if each.isdigit() else each for each in arguments))
            except (KeyError, TypeError, ValueError, StackError) as error:
                self.wfile.write(f"{error}\n".encode())
            else:
                self.wfile.write(b"ok\n")

    return Handler


def _load_librdkafka() -> ctypes.CDLL:
    """The library of the confluent-kafka wheel, else of the system."""
    package = process.package_directory("confluent_kafka")
    found = ctypes.util.find_library("rdkafka") if package is None else None
    if package is not None:
        libraries = package.with_name("confluent_kafka.libs").glob("librdkafka-*.so*")
        found = next(map(str, libraries), None)
    if found is None:
        raise StackError("librdkafka is not installed: set KAFKA_BOOTSTRAP_SERVERS.")
    library = ctypes.CDLL(found)
    # Without these a pointer would be cut to 32 bits.
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    # These two return nothing: what is left in the register is no error code.
    library.rd_kafka_mock_set_group_consumer_session_timeout_ms.restype = None
    library.rd_kafka_mock_set_group_consumer_heartbeat_interval_ms.restype = None
    library.rd_kafka_mock_push_request_errors_array.restype = None
    library.rd_kafka_mock_topic_set_error.restype = None
    return library


def _ready_file(directory: Path) -> Path:
    return directory / "kafka.ready"


if __name__ == "__main__":
    main()
