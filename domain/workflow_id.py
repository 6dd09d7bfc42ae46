"""The ids of the workflows: one per payment, refund, invoice and month, so that there is one owner.

Temporal runs one workflow of an id at a time. That is the second lock behind the rows.
"""

import hashlib
from collections.abc import Sequence

OUTBOX_WORKFLOW_ID = "outbox"
SCHEDULED_WORKFLOW_ID = "monthly-settlement"
VERIFICATION_WORKFLOW_ID = "hourly-verification"
"""A Schedule appends the time of each start."""


def payment_workflow_id(payment_id: str) -> str:
    return f"payment/{payment_id}"


def refund_workflow_id(refund_id: str) -> str:
    return f"refund/{refund_id}"


def invoice_workflow_id(invoice_id: str) -> str:
    return f"invoice/{invoice_id}"


def settlement_workflow_id(customer_id: str, period: str) -> str:
    return f"settlement/{customer_id}/{period}"


def dead_letter_job_workflow_id(job_id: str) -> str:
    return f"dlq-job/{job_id}"


def gateway_hurry_workflow_id(gateway: str) -> str:
    return f"gateway-hurry/{gateway}"


def settlement_run_workflow_id(period: str, customers: Sequence[str] | None = None) -> str:
    """A run of named customers has an id of its own: it must never stand for the month's run."""
    return part_workflow_id(period, None if customers is None else run_part(customers))


def run_part(customers: Sequence[str]) -> str:
    """What a run of these customers is called beside its month."""
    names = "\n".join(sorted(set(customers)))
    return hashlib.sha256(names.encode()).hexdigest()[:12]


def part_workflow_id(period: str, part: str | None) -> str:
    """Of the month's run, or of the run of some customers that is called so."""
    return f"settlement-run/{period}" if part is None else f"settlement-run/{period}/{part}"
