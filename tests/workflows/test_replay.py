"""Workflows that run while we deploy: what they have done so far, today's code must do again."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from temporalio.client import WorkflowHistory
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.worker import Interceptor, Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from runtime import temporal
from store.key_ring import parse
from tests.support.sealing import OLD, SEALED
from tests.workflows.planted import (
    CollectLater,
    HurryLater,
    MarkAfterwards,
    PayLater,
    RefundLater,
    RunLater,
    SettleLater,
)
from workflows.dead_letter_job import DeadLetterJob
from workflows.gateway_hurry import GatewayHurry
from workflows.invoice_retry import InvoiceRetry
from workflows.monthly_settlement import MonthlySettlement
from workflows.outbox_relay import OutboxRelay
from workflows.payment_saga import PaymentSaga
from workflows.refund_saga import RefundSaga
from workflows.settlement_run import SettlementRun
from workflows.settlement_schedule import ScheduledSettlement

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
WORKFLOWS = (
    PaymentSaga,
    RefundSaga,
    OutboxRelay,
    InvoiceRetry,
    MonthlySettlement,
    SettlementRun,
    ScheduledSettlement,
    DeadLetterJob,
    GatewayHurry,
)


def history(path: Path) -> WorkflowHistory:
    recorded = json.loads(path.read_text())
    return WorkflowHistory.from_json(recorded.pop("workflowId"), recorded)


TRACED = (TracingInterceptor(TracerProvider().get_tracer("tests")),)


def replayer(*workflows: type, interceptors: Sequence[Interceptor] = ()) -> Replayer:
    """As in production: without the sandbox, in which all other tests run workflows, and with keys,
    which most histories are older than."""
    return Replayer(
        workflows=workflows,
        namespace=SEALED,
        data_converter=temporal.data_converter(parse(OLD), SEALED),
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=interceptors,
    )


def test_there_is_a_history_of_every_workflow() -> None:
    types = {
        path.name.partition("-")[0]: json.loads(path.read_text())["events"][0][
            "workflowExecutionStartedEventAttributes"
        ]["workflowType"]["name"]
        for path in HISTORIES
    }
    assert types == {
        "payment": "PaymentSaga",
        "refund": "RefundSaga",
        "outbox": "OutboxRelay",
        "invoice": "InvoiceRetry",
        "settlement": "MonthlySettlement",
        "run": "SettlementRun",
        "schedule": "ScheduledSettlement",
        "letters": "DeadLetterJob",
        "hurry": "GatewayHurry",
    }
    assert len(HISTORIES) >= 40


def test_one_of_the_histories_is_sealed() -> None:
    path = Path(__file__).parent / "histories" / "payment-completed-sealed.json"
    assert path.read_text().count('"encryption-workflow-id"') >= 8


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_history_replays(path: Path) -> None:
    await replayer(*WORKFLOWS).replay_workflow(history(path))


async def test_whoever_turns_traces_on_goes_on_with_what_began_without() -> None:
    for path in HISTORIES:
        await replayer(*WORKFLOWS, interceptors=TRACED).replay_workflow(history(path))


@pytest.mark.parametrize(
    ("noun", "planted"),
    [
        ("payment", PayLater),
        ("payment", MarkAfterwards),
        ("refund", RefundLater),
        ("settlement", SettleLater),
        ("invoice", CollectLater),
        ("run", RunLater),
        ("hurry", HurryLater),
    ],
)
async def test_a_planted_change_is_noticed_in_every_history(noun: str, planted: type) -> None:
    for path in [each for each in HISTORIES if each.name.startswith(f"{noun}-")]:
        with pytest.raises(NondeterminismError):
            await replayer(planted).replay_workflow(history(path))
