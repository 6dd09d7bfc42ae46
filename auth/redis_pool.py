"""Redis for what is counted and remembered for a while: bounded connections, and no long waits."""

from redis.asyncio import BlockingConnectionPool, Redis

CONNECTIONS = 16
SECONDS = 1.0


def connect(url: str) -> Redis:
    """Connects when first used; a call fails after a moment instead of waiting."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=SECONDS,
        socket_timeout=SECONDS,
        socket_connect_timeout=SECONDS,
    )
    return Redis.from_pool(pool)
