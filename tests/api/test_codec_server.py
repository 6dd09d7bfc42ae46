"""The codec server opens what an operator may read, for a page of the UI and no other."""

import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from google.protobuf.json_format import MessageToJson, Parse
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import WorkflowSerializationContext

from api.codec_server import create_app
from runtime.codec import EncryptionCodec
from runtime.settings import ConfigurationError, Settings
from store.key_ring import parse
from tests.conftest import served
from tests.support.sealing import NEW, OLD, with_keys

UI = "http://127.0.0.1:8233"
SAID = Payload(metadata={"encoding": b"json/plain"}, data=b'"hold 500 KRW"')
HERE = WorkflowSerializationContext("billing", "payment/p-1")


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    told = with_keys(settings, OLD, namespace="billing")
    async with served(create_app(told.model_copy(update={"temporal_ui_url": f"{UI}/"}))) as http:
        yield http


async def sealed(keys: str = OLD) -> Payload:
    [kept] = await EncryptionCodec(parse(keys), "billing").with_context(HERE).encode([SAID])
    return kept


async def opened(server: httpx2.AsyncClient, *payloads: Payload) -> list[Payload]:
    answer = await server.post(
        "/decode",
        content=MessageToJson(Payloads(payloads=payloads)),
        headers={"X-Namespace": "billing", "Origin": UI},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["Access-Control-Allow-Origin"] == UI
    return list(Parse(answer.text, Payloads()).payloads)


async def test_a_sealed_payload_is_opened_and_a_plain_one_stays(
    server: httpx2.AsyncClient,
) -> None:
    assert await opened(server, await sealed(), SAID) == [SAID, SAID]
    assert await opened(server) == []


async def test_one_that_cannot_be_opened_says_why_and_hides_no_other(
    server: httpx2.AsyncClient,
) -> None:
    moved = await sealed()
    moved.metadata["encryption-workflow-id"] = b"payment/p-2"
    broken = await sealed()
    broken.metadata["encryption-key-id"] = b"\xff"

    unknown, tampered, garbled, whole = await opened(
        server, await sealed(NEW), moved, broken, await sealed()
    )

    assert "'new', which is not in PAYLOAD_KEYS" in json.loads(unknown.data)
    assert "has changed" in json.loads(tampered.data)
    assert json.loads(garbled.data)
    assert whole == SAID


@pytest.mark.parametrize(
    "body",
    [b"", b"[1]", b"{", b'{"payloads": [{"data": 1}]}', b'{"x": 1}', b"\xff", b"[" * 100_000],
)
async def test_what_is_no_list_of_payloads_is_refused(
    server: httpx2.AsyncClient, body: bytes
) -> None:
    answer = await server.post("/decode", content=body)
    assert answer.status_code == 400, answer.text


async def test_a_page_of_another_origin_may_not_ask(server: httpx2.AsyncClient) -> None:
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-namespace",
    }
    allowed = await server.options("/decode", headers={"Origin": UI, **asks})
    refused = await server.options("/decode", headers={"Origin": "http://evil.example", **asks})

    assert (allowed.status_code, refused.status_code) == (200, 400)
    assert "Access-Control-Allow-Origin" not in refused.headers


async def test_there_is_nothing_else_to_ask(server: httpx2.AsyncClient) -> None:
    for path in ("/", "/encode", "/swagger", "/api/v1/payments"):
        assert (await server.get(path)).status_code == 404


def test_it_does_not_start_where_strangers_could_reach_it(settings: Settings) -> None:
    with pytest.raises(ConfigurationError):
        create_app(settings.model_copy(update={"api_host": "0.0.0.0"}))
