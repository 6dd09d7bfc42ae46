"""How many connections to PostgreSQL a process holds at most: the server needs room for all that
run."""

from runtime.settings import Settings

LENGTHY = 2
"""Whole months that an API process reads: a third one waits, and is then refused."""
KEYS = 2
"""Connections that only look keys up: whoever makes up keys takes none from those who work."""
FIGURES = 1
"""In which an API process reads what it exports."""


def of_api(settings: Settings) -> int:
    return settings.database_pool_size + settings.api_reads_at_once + LENGTHY + KEYS + FIGURES


def of_worker(settings: Settings) -> int:
    """As many for settlements as for all else."""
    return 2 * settings.database_pool_size


def of_issuer(settings: Settings) -> int:
    return settings.database_pool_size
