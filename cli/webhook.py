"""`billing webhook`: what PGs told unasked."""

from collections.abc import Callable, Mapping
from typing import Annotated

import orjson
import typer

from api.documents.received_webhook import Webhook
from cli.listing import Listing, listed, pages
from cli.options import Moment, example, moment

app = typer.Typer(help="What payment gateways told unasked.", no_args_is_help=True)

COLUMNS: Mapping[str, Callable[[Webhook], object]] = {
    "receivedAt": lambda each: each.received_at,
    "gateway": lambda each: each.gateway,
    "eventId": lambda each: each.event_id,
    "body": lambda each: orjson.dumps(each.body).decode(),
}


@app.callback()
def _group() -> None:
    """Keeps `list` a command of its own while it is the only one."""


@app.command("list", epilog=example("webhook list --gateway simulator --since 2026-05-01"))
@listed
def list_(
    gateway: Annotated[str | None, typer.Option(help="Only from this PG.")] = None,
    since: Moment = None,
    until: Moment = None,
) -> Listing[Webhook]:
    """List the events that PGs sent, each once, the last first."""
    query = {"gateway": gateway, "from": moment(since), "to": moment(until)}
    return Listing(Webhook, pages("/api/v1/webhooks", query), COLUMNS, "No webhooks.")
