"""Installations with keys, each in a namespace of its own: others' workers have none."""

import base64
from collections.abc import Iterator

from google.protobuf.message import Message
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.client import Client

from runtime import temporal
from runtime.settings import Settings
from tests.support.namespaces import a_namespace
from tests.support.updates import patient

OLD = f"old:{base64.b64encode(b'a key of tests, and of no others').decode()}"
NEW = f"new:{base64.b64encode(b'another key, which came later on').decode()}"
SEALED = "sealed"
"""The namespace of the history that was recorded under the old key."""


def with_keys(settings: Settings, *keys: str, namespace: str | None = None) -> Settings:
    """The same installation with these keys, the current one first."""
    return settings.model_copy(
        update={
            "payload_keys": SecretStr(",".join(keys)) if keys else None,
            "temporal_namespace": namespace or a_namespace("sealed"),
        }
    )


async def connected(settings: Settings) -> Client:
    return patient(await temporal.connect_when_ready(settings))


def payloads(message: Message) -> Iterator[Payload]:
    """Every payload within, except of search attributes, which stay readable."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            values = [each for each in value.values() if isinstance(each, Message)]
        else:
            values = list(value) if field.is_repeated else [value]
        for each in values:
            if isinstance(each, Payload):
                yield each
            elif not isinstance(each, SearchAttributes):
                yield from payloads(each)
