"""How every process of ours that speaks HTTP listens."""

import uvicorn
from starlette.types import ASGIApp

from api.envelope import BoundedHead


def serve(application: ASGIApp, host: str, port: int) -> None:
    """Until it is told to stop."""
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        # `api.address` says where a request comes from: what is rewritten before cannot be checked.
        proxy_headers=False,
        http=BoundedHead,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run()
