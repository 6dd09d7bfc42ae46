"""The codec server opens what an operator may read, for a page of the UI and no other."""

import json
from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

import httpx2
import pytest
from google.protobuf.json_format import MessageToJson, Parse
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import WorkflowSerializationContext

from api.codec_server import create_app
from runtime.codec import EncryptionCodec
from runtime.settings import ConfigurationError, Settings
from store.database import Database
from store.key_ring import parse
from tests.conftest import served
from tests.support.audit import trail
from tests.support.sealing import NEW, OLD, with_keys

UI = "http://127.0.0.1:8233"
SAID = Payload(metadata={"encoding": b"json/plain"}, data=b'"hold 500 KRW"')


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    told = with_keys(settings, OLD, namespace="billing")
    async with served(create_app(told.model_copy(update={"temporal_ui_url": f"{UI}/"}))) as http:
        yield http


async def sealed(keys: str = OLD, of: str = "payment/p-1") -> Payload:
    here = WorkflowSerializationContext("billing", of)
    [kept] = await EncryptionCodec(parse(keys), "billing").with_context(here).encode([SAID])
    return kept


async def opened(
    server: httpx2.AsyncClient, *payloads: Payload, headers: Mapping[str, str] | None = None
) -> list[Payload]:
    answer = await server.post(
        "/decode",
        content=MessageToJson(Payloads(payloads=payloads)),
        headers={"X-Namespace": "billing", "Origin": UI, **(headers or {})},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["Access-Control-Allow-Origin"] == UI
    return list(Parse(answer.text, Payloads()).payloads)


async def test_a_sealed_payload_is_opened_and_a_plain_one_stays(
    server: httpx2.AsyncClient,
) -> None:
    assert await opened(server, await sealed(), SAID) == [SAID, SAID]
    assert await opened(server) == []


async def test_who_reads_a_history_is_noted_once_for_each_workflow(
    server: httpx2.AsyncClient, database: Database
) -> None:
    """As every other look, before it is given. What was plain, or stays sealed, is no look."""
    one, two, three = (f"payment/{uuid4()}" for _ in range(3))
    moved = await sealed(of=one)
    moved.metadata["encryption-workflow-id"] = three.encode()
    reader = {"X-Customer-Id": f"r-{uuid4().hex}"}

    for _ in range(2):
        await opened(server, await sealed(of=one), await sealed(of=two), headers=reader)
    await opened(server, SAID, moved, headers=reader)

    noted = await trail(database, actor_id=f"dev/{reader['X-Customer-Id']}")
    assert {(each.action, each.noun) for each in noted} == {("DATA_VIEWED", "workflow")}
    assert sorted(each.target_id for each in noted) == sorted([one, two])


async def test_what_belongs_to_no_workflow_is_noted_by_its_namespace(
    server: httpx2.AsyncClient, database: Database
) -> None:
    reader = {"X-Customer-Id": f"r-{uuid4().hex}"}
    [kept] = await EncryptionCodec(parse(OLD), "billing").encode([SAID])

    assert await opened(server, kept, headers=reader) == [SAID]

    [noted] = await trail(database, actor_id=f"dev/{reader['X-Customer-Id']}")
    assert (noted.action, noted.target_id) == ("DATA_VIEWED", "billing")


async def test_what_cannot_be_noted_is_not_given(settings: Settings) -> None:
    told = with_keys(settings, OLD, namespace="billing")
    nobody = told.model_copy(update={"database_url": "postgresql://billing_app@127.0.0.1:9/x"})
    async with served(create_app(nobody)) as without_a_database:
        body = MessageToJson(Payloads(payloads=[await sealed()]))
        answer = await without_a_database.post("/decode", content=body)

    assert answer.status_code == 503, answer.text


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
