"""Redis for what is counted and remembered for a while: bounded connections, and no long waits."""

from redis.asyncio import BlockingConnectionPool, Redis

CONNECTIONS = 16
SECONDS = 1.0


def connect(url: str, seconds: float = SECONDS) -> Redis:
    """Connects when first used; a call, or the wait for a connection to make it with, fails after a
    moment."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=seconds,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
    )
    return Redis.from_pool(pool)
