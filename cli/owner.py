"""Handing a decision to the workflow that owns a thing, as an Update."""

import hashlib
from collections.abc import Callable
from datetime import timedelta

from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from cli.system import Refused

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
    the owner has ended or does not take it.

    The Update's id is made of `words`: the same ones, sent twice, are taken once.
    """
    try:
        await client.get_workflow_handle(workflow_id).execute_update(
            update, argument, id=hashlib.sha256(words.encode()).hexdigest(), rpc_timeout=WAIT
        )
    except WorkflowUpdateFailedError as error:
        raise nothing_waits() from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise Refused(
            f"No worker took the decision within {WAIT.seconds} s: see that one runs, then repeat "
            "the same command."
        ) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise nothing_waits() from error
        raise Refused(f"Temporal did not take the decision: {error.message}.") from error
    except RuntimeError as error:
        raise Refused("Temporal cannot be reached: repeat the same command later.") from error
