"""The connection to Temporal and the namespace it needs."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import structlog
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
)
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode, TLSConfig

from runtime import keys, tracing
from runtime.codec import EncryptionCodec
from runtime.settings import ConfigurationError, Settings
from service.temporal import UNREACHABLE
from store.key_ring import KeyRing
from workflows import search_attributes

log = structlog.get_logger()

RETENTION = timedelta(days=30)
"""How long closed workflows are known: to people, in the UI, and to whoever starts a payment as one
that never ran. Far longer than all workers and sweepers may be down."""


class SharedPayloadConverter(CompositePayloadConverter):
    """Pydantic's converter, one for all workflows of a process: each would else build its own
    adapters of the same types, which is more work than all that a payment's workflow does."""

    _CONVERTERS = tuple(PydanticPayloadConverter().converters.values())

    def __init__(self) -> None:
        super().__init__(*self._CONVERTERS)


IN_CLEAR = DataConverter(payload_converter_class=SharedPayloadConverter)


def data_converter(ring: KeyRing, namespace: str) -> DataConverter:
    """Seals every payload, and the words and stack traces of failures; without keys nothing."""
    if ring.current is None:
        return IN_CLEAR
    return replace(
        IN_CLEAR,
        payload_codec=EncryptionCodec(ring, namespace),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


async def connect_later(settings: Settings) -> Client:
    """A client that connects when first used, so that the API can start before Temporal does."""
    return await _connect(settings, lazy=True)


async def connect_when_ready(settings: Settings) -> Client:
    """A connected client with its namespace prepared; waits for Temporal as long as it takes."""
    _sdk(settings)
    while True:
        try:
            client = await _connect(settings, lazy=False)
            break
        except RuntimeError as error:
            address = settings.temporal_address
            log.warning("Temporal cannot be reached yet", temporal=address, error=error)
            await asyncio.sleep(1)
    await namespace_ready(client)
    return client


async def _connect(settings: Settings, lazy: bool) -> Client:
    key = settings.temporal_api_key
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        data_converter=data_converter(keys.ring(settings), settings.temporal_namespace),
        grpc_compression=GrpcCompression.NONE,
        lazy=lazy,
        runtime=_sdk(settings),
        interceptors=tracing.of_temporal(settings),
        tls=tls(settings),
        api_key=None if key is None else key.get_secret_value(),
    )


def _sdk(settings: Settings) -> Runtime | None:
    """What the SDK runs in; None for its default, which measures nothing. Raises
    `ConfigurationError` where it cannot listen."""
    port = settings.temporal_metrics_port
    return None if port is None else _measured(f"{settings.api_host}:{port}")


@cache
def _measured(address: str) -> Runtime:
    """One of a process, whatever connects: two would not both find the port free."""
    metrics = PrometheusConfig(
        bind_address=address,
        durations_as_seconds=True,
        counters_total_suffix=True,
        unit_suffix=True,
    )
    try:
        return Runtime(telemetry=TelemetryConfig(metrics=metrics))
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"TEMPORAL_METRICS_PORT: nothing can listen at {address}: {error}."
        ) from error


def tls(settings: Settings) -> TLSConfig | bool:
    """Read at each connection: certificates are renewed while processes run."""
    if not settings.temporal_tls:
        return False
    return TLSConfig(
        server_root_ca_cert=_read(settings.temporal_ca_file),
        client_cert=_read(settings.temporal_cert_file),
        client_private_key=_read(settings.temporal_key_file),
    )


def _read(path: str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


async def namespace_ready(client: Client) -> None:
    """Prepare the namespace, waiting for Temporal as long as it takes."""
    while True:
        try:
            return await ensure_namespace(client)
        except UNREACHABLE as error:
            log.warning("Temporal cannot be reached yet", error=error)
            await asyncio.sleep(1)


async def ensure_namespace(client: Client) -> None:
    """Make the namespace if need be, set its retention, and register every search attribute.

    Unregistered, a start that names one fails and an upsert hangs its workflow.
    """
    retention = Duration(seconds=int(RETENTION.total_seconds()))
    service = client.workflow_service
    try:
        await service.register_namespace(
            RegisterNamespaceRequest(
                namespace=client.namespace, workflow_execution_retention_period=retention
            )
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
        update = UpdateNamespaceRequest(namespace=client.namespace)
        update.config.workflow_execution_retention_ttl.CopyFrom(retention)
        await service.update_namespace(update)
    await service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    await register_search_attributes(client)


async def register_search_attributes(client: Client) -> None:
    """Whatever workflows are found by; those that are known already stay."""
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    for key in search_attributes.ALL:
        request = AddSearchAttributesRequest(
            namespace=client.namespace, search_attributes={key.name: keyword}
        )
        try:
            await client.operator_service.add_search_attributes(request)
        except RPCError as error:
            if error.status is not RPCStatusCode.ALREADY_EXISTS:
                raise
