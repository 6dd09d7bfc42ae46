"""A process that logs as the workers do: during an activity of a payment, and outside.

python -m tests.runtime.log_process
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext
from temporalio import activity
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from runtime import logs

log = structlog.get_logger()


class Step(ActivityInboundInterceptor):
    """Stands for the activity itself."""

    def __init__(self) -> None:
        pass

    async def execute_activity(self, input: ExecuteActivityInput) -> None:
        log.info("the step is done", violations=1_000, path="/카드", name="김철수")
        logging.getLogger("a.library").warning("slow: %d ms", 7)
        try:
            raise ConnectionError("the line broke")
        except ConnectionError:
            log.exception("the step is tried again")
        try:
            raise KeyError("김철수") from ValueError("bk_4242")
        except KeyError:
            logging.getLogger("a.library").exception("it cannot be done")


async def run_in(environment: ActivityEnvironment, workflow_id: str) -> None:
    environment.info = replace(
        environment.info, workflow_id=workflow_id, activity_type="gateway.charge"
    )
    execute: Callable[..., Any] = (
        logs.LogContextInterceptor().intercept_activity(Step()).execute_activity
    )
    await environment.run(execute, ExecuteActivityInput(activity.info, (), None, {}))


async def main() -> None:
    logs.configure("INFO")
    log.debug("not at this level")
    await asyncio.gather(
        run_in(ActivityEnvironment(), "payment/p-1"), run_in(ActivityEnvironment(), "refund/r-1")
    )
    log.info("the worker is ready")
    part = SpanContext(trace_id=0xABC, span_id=0x1, is_remote=True)
    with trace.use_span(NonRecordingSpan(part)):
        log.info("it is part of a trace")


if __name__ == "__main__":
    asyncio.run(main())
