"""Handing a decision to the workflow that owns a thing, as an Update."""

import hashlib
from collections.abc import Callable
from datetime import timedelta

from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError

from cli.system import Refused
from runtime.updates import Delivery, Update, deliver

WAIT = timedelta(seconds=10)


async def hand_over(
    client: Client,
    workflow_id: str,
    update: str,
    argument: object,
    words: str,
    nothing_waits: Callable[[], Refused],
) -> None:
    """Send the Update, and wait for its end. Raises `Refused`, in the words of `nothing_waits` when
    the owner has ended or does not take it."""
    handed = Update(workflow_id, update, argument, update_id(words))
    try:
        delivery = await deliver(client, handed, WAIT.total_seconds())
    except WorkflowUpdateFailedError as error:
        raise nothing_waits() from error
    except RPCError as error:
        raise Refused(f"Temporal did not take the decision: {error.message}.") from error
    except RuntimeError as error:
        raise Refused("Temporal cannot be reached: repeat the same command later.") from error
    if delivery is Delivery.CLOSED:
        raise nothing_waits()
    if delivery is Delivery.LATE:
        raise Refused(
            f"No worker took the decision within {WAIT.seconds} s: see that one runs, then repeat "
            "the same command."
        )


def update_id(words: str) -> str:
    """The same words, sent twice, are taken once."""
    return hashlib.sha256(words.encode()).hexdigest()
