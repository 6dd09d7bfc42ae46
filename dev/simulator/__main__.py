"""A payment gateway to be wrong in every way a real one is, with a durable book of its own.

    python -m dev.simulator --port 9090 --book gateway.sqlite

It writes one line to standard output when it can be called, and ends within a second of SIGTERM.
Test numbers are the only card numbers it takes (also at GET /v1/test-cards):

    4242424242424242  approved
    4000000000000002  declined: card_declined
    4000000000009995  declined: insufficient_funds
    4000000000000069  declined: expired_card
    4000000000009987  declined for good: lost_card
    4000000000010001  approved after 3 s
    4000000000011009  approved after 8 s
    4000000000012007  503 once, nothing happened
    4000000000013005  captured, then 500
    4000000000014003  captured, then the line breaks
    4000000000015000  captured, never answered
    4000000000016008  captured 30 s later, never answered
    4000000000017006  captured 20 min later, never answered
    4000000000018004  409 in-progress twice, then approved
    4000000000019002  approved; every refund is declined
    4000000000020000  approved; every void is declined
    4000000000021008  approved; webhook sent twice
    4000000000022006  approved; webhook sent after a later one

("Captured" is "authorized" for a charge with `"capture": false`.)
"""

import argparse
import binascii
import socket
import sqlite3
import sys

import uvicorn
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from dev.simulator import book
from dev.simulator.app import build_app
from dev.simulator.behaviours import parse_mix
from dev.simulator.connection import BreakableConnection
from dev.simulator.control import check_webhook_url, use_webhook_url
from dev.simulator.state import Options, Simulator
from dev.simulator.wire import Refused


class Server(uvicorn.Server):
    """A server that does not wait for those who are kept waiting on purpose."""

    def __init__(self, config: uvicorn.Config, simulator: Simulator) -> None:
        super().__init__(config)
        self.simulator = simulator

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.simulator.cut_off()
        await super().shutdown(sockets)


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    try:
        options = _options(arguments)
        if arguments.webhook_url is not None:
            check_webhook_url(arguments.webhook_url)
        db = book.open_book(arguments.book)
        listener = _listen(arguments.host, arguments.port)
    except (ValueError, OSError, OverflowError, sqlite3.Error, Refused) as error:
        parser.error(str(error))
    simulator = Simulator(db, options)
    if options.signer is not None:
        use_webhook_url(simulator, arguments.webhook_url or book.setting(db, "webhook_url"))
    host, port = listener.getsockname()[:2]
    sys.stdout.write(f"gateway simulator on http://{host}:{port}\n")
    sys.stdout.flush()
    _serve(simulator, listener)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dev.simulator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, required=True, help="0 takes a free one")
    add("--book", required=True, help="the SQLite file; made if it is not there")
    add("--time-scale", type=float, default=1.0, help="every delay is divided by it")
    add("--key-window-seconds", type=float, default=86_400.0, help="not scaled")
    add("--seed", type=int, default=0, help="the same seed and mix behave the same")
    add("--mix", default="{}", help='probabilities: {"lose-answer": 0.05, "charge.decline": 0.1}')
    add("--webhook-url", help="kept in the book; PUT /control/webhook changes it")
    add("--webhook-secret", help="whsec_…, without it nothing is sent")
    return parser


def _options(arguments: argparse.Namespace) -> Options:
    if not 0 < arguments.time_scale < float("inf"):
        raise ValueError("--time-scale must be above 0")
    if not arguments.key_window_seconds > 0:
        raise ValueError("--key-window-seconds must be above 0")
    if arguments.webhook_url is not None and arguments.webhook_secret is None:
        raise ValueError("--webhook-url needs --webhook-secret")
    return Options(
        time_scale=arguments.time_scale,
        seed=arguments.seed,
        mix=parse_mix(arguments.mix),
        key_window_seconds=arguments.key_window_seconds,
        signer=None if arguments.webhook_secret is None else _signer(arguments.webhook_secret),
    )


def _signer(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except (EmptyWebhookSecretError, binascii.Error) as error:
        raise ValueError("--webhook-secret must be whsec_ and base64") from error


def _listen(host: str, port: int) -> socket.socket:
    # Listening before the line is written: whoever has read it can connect.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(2048)
    return listener


def _serve(simulator: Simulator, listener: socket.socket) -> None:
    config = uvicorn.Config(
        build_app(simulator),
        http=BreakableConnection,
        ws="none",
        loop="uvloop",
        access_log=False,
        log_level="warning",
        # Longer than any client keeps one: only a behaviour may break a connection.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=1,
    )
    Server(config, simulator).run(sockets=[listener])


if __name__ == "__main__":
    main()
