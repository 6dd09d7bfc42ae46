"""What Temporal keeps of our workflows is sealed: inputs, results, signals, summaries, failures.

Each payload belongs to its namespace and its workflow; nobody can put it into another's history.
"""

import re
import zlib
from collections.abc import Sequence
from typing import Self

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from store.key_ring import KeyRing, Tampered

ENCODING = b"binary/encrypted"
LARGE = 2048
"""Bytes from which on a payload is compressed first; smaller ones gain nothing by it."""

_KEY_ID, _WORKFLOW_ID = "encryption-key-id", "encryption-workflow-id"
_AS_IS, _COMPRESSED = b"\0", b"\1"
_STARTED_AT = re.compile(r"-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
"""What a Schedule appends to the id of each workflow, whose input it keeps under the id without."""


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Plain payloads are read as they are: histories that began before there were keys go on.

    Without a context (`workflow_id` None), as in the codec server, a payload itself says to whom it
    belongs; with one, it must be the workflow at hand.
    """

    def __init__(self, keys: KeyRing, namespace: str, workflow_id: str | None = None) -> None:
        self._keys = keys
        self._namespace = namespace
        self._workflow_id = workflow_id

    def with_context(self, context: SerializationContext) -> Self:
        if not isinstance(context, WorkflowSerializationContext | ActivitySerializationContext):
            return self
        return type(self)(self._keys, context.namespace, context.workflow_id)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._sealed(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Raises `UnknownKey` and `Tampered`: a workflow's task fails and is tried again, so that
        the workflow goes on when a worker has the key."""
        return [self._opened(payload) if is_sealed(payload) else payload for payload in payloads]

    def _sealed(self, payload: Payload) -> Payload:
        workflow_id = self._workflow_id or ""
        plain = payload.SerializeToString()
        large = len(plain) > LARGE
        form = _COMPRESSED + zlib.compress(plain, 1) if large else _AS_IS + plain
        current = self._keys.current
        assert current is not None, "a codec is made with keys only"
        return Payload(
            metadata={
                "encoding": ENCODING,
                _KEY_ID: current.encode(),
                _WORKFLOW_ID: workflow_id.encode(),
            },
            data=self._keys.seal(form, self._belongs_to(workflow_id)),
        )

    def _opened(self, payload: Payload) -> Payload:
        said = workflow_of(payload)
        if self._workflow_id is not None and not _is_of(said, self._workflow_id):
            raise Tampered(f"A payload of {said!r} stands in the history of {self._workflow_id!r}.")
        key_id = payload.metadata[_KEY_ID].decode()
        form = self._keys.open(key_id, payload.data, self._belongs_to(said))
        plain = zlib.decompress(form[1:]) if form[:1] == _COMPRESSED else form[1:]
        return Payload.FromString(plain)

    def _belongs_to(self, workflow_id: str) -> bytes:
        return "\0".join(("v1", self._namespace, workflow_id)).encode()


def is_sealed(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == ENCODING


def workflow_of(payload: Payload) -> str:
    """Whose it says that it is; of one that was opened it is true. Empty for what belongs to no
    workflow."""
    return payload.metadata[_WORKFLOW_ID].decode()


def _is_of(said: str, workflow_id: str) -> bool:
    if said == workflow_id:
        return True
    scheduled = workflow_id.startswith(said)
    return scheduled and _STARTED_AT.fullmatch(workflow_id.removeprefix(said)) is not None
