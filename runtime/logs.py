"""Structured logs: for people on a terminal, JSON everywhere else.

Whatever may be personal is not logged: fields have to be on a list, and an exception says what it
is and where in our code it came from, but what it quotes only if its kind quotes nobody.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
from confluent_kafka import KafkaException
from opentelemetry import trace
from prometheus_client import Counter
from temporalio import activity
from temporalio.service import RPCError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from runtime import complaints
from runtime.settings import ConfigurationError
from service.temporal import TemporalUnreachable
from store.key_ring import Tampered, UnknownKey

FIELDS = frozenset(
    {
        *("event", "level", "timestamp", "error", "exception"),
        *("workflow_id", "activity", "payment_id", "refund_id", "invoice_id", "settlement_id"),
        *("settlement-run_id", "outbox_id", "id", "path", "temporal", "consumer"),
        *("messages", "events", "invariant", "promise", "violations", "first"),
        *("issuer", "anchor", "entries", "trace_id", "topic", "partitions", "queues"),
        "left_out",
    }
)
"""What may stand in a line. Names, cards, tokens, keys of callers, bodies and headers may not."""

DROPPED = Counter("billing_log_fields_dropped", "Fields of log lines that may not be logged.")

_QUOTES_NOBODY = (
    OSError,
    RPCError,
    KafkaException,
    TemporalUnreachable,
    ConfigurationError,
    UnknownKey,
    Tampered,
)
"""The words of others may quote what they were given: rows, inputs, what a PG says of a person."""

_OURS = Path(__file__).resolve().parents[1]


def configure(level: str) -> None:
    """Send every log record of the process, ours and the libraries', to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    tail: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _say_errors,
        _drop_what_is_not_listed,
        renderer,
    ]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=tail)
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger(complaints.NAME).addFilter(complaints.COMPLAINTS)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _add_trace(
    logger: Any, method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Of which trace it is, while there is one."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        fields["trace_id"] = f"{span.trace_id:032x}"
    return fields


def _say_errors(
    logger: Any, method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if isinstance(error := fields.get("error"), BaseException):
        fields["error"] = words(error)
    told = fields.pop("exc_info", None)
    error = sys.exc_info()[1] if told is True else told[1] if isinstance(told, tuple) else told
    if isinstance(error, BaseException):
        fields["exception"] = "\n".join(_lines(error))
    return fields


def _drop_what_is_not_listed(
    logger: Any, method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    kept = {name: value for name, value in fields.items() if name in FIELDS}
    DROPPED.inc(len(fields) - len(kept))
    return kept


def words(error: BaseException) -> str:
    """Its kind, and what it says where that quotes nobody; of the database, its code."""
    kind = type(error).__qualname__
    if isinstance(error, _QUOTES_NOBODY):
        return f"{kind}: {error}"
    code = getattr(getattr(error, "orig", error), "sqlstate", None)
    return f"{kind} {code}" if code else kind


def _lines(error: BaseException) -> Iterator[str]:
    """As a traceback: what came first first, with the frames that are ours, without values."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _lines(before)
    yield "Traceback (most recent call last):"
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_OURS) and ".venv" not in path.parts:
            yield f"  {path.relative_to(_OURS)}:{frame.lineno} in {frame.name}"
    yield words(error)


class LogContextInterceptor(Interceptor):
    """Whatever is logged during an activity carries its workflow and payment or refund id."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _LogContext(next)


class _LogContext(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        workflow_id = info.workflow_id or ""
        noun, _, subject = workflow_id.partition("/")
        with structlog.contextvars.bound_contextvars(
            workflow_id=workflow_id, activity=info.activity_type, **{f"{noun}_id": subject}
        ):
            return await self.next.execute_activity(input)
