"""What an error of a call to Temporal says of Temporal."""

from temporalio.service import RPCError, RPCStatusCode

UNREACHABLE = (RPCError, RuntimeError)
"""What a call raises while Temporal is down: RuntimeError until a lazy client once connected."""


class TemporalUnreachable(ConnectionError):
    """Temporal does not answer. Nothing that it knows is lost."""


_ANSWERS = frozenset(
    {
        RPCStatusCode.ALREADY_EXISTS,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.OUT_OF_RANGE,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.UNIMPLEMENTED,
    }
)


def is_down(error: RPCError) -> bool:
    """Whether Temporal (or its namespace) is missing or too busy: the same call may do later. It
    does not when Temporal has understood it and said no."""
    return error.status not in _ANSWERS
