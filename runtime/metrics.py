"""What a process shows to Prometheus: its own counters, and the figures of the database while it is
the one that reads them.

A counter stands where its thing is counted, in the registry of the process. There is one process
per port, so nothing is gathered from other processes.
"""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    disable_created_metrics,
    generate_latest,
)

from runtime.figures import FigureReader

MEDIA_TYPE = CONTENT_TYPE_LATEST

# When a counter began: as many lines again, and nobody asks.
disable_created_metrics()  # type: ignore[no-untyped-call]


def rendered(figures: FigureReader) -> bytes:
    """The text of a scrape; asks nobody."""
    return generate_latest(REGISTRY) + generate_latest(figures)
