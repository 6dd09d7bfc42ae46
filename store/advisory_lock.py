"""How long transactions wait for each other at an advisory lock."""

from prometheus_client import Histogram

WAIT = Histogram(
    "billing_advisory_lock_wait_seconds",
    "From the statement that asks for an advisory lock to its answer.",
    ["lock"],
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30),
)
USAGE = WAIT.labels("usage")
"""Of a customer: one draft of it at a time."""
PRICING_PLAN = WAIT.labels("pricing-plan")
"""One new version of a plan at a time."""
