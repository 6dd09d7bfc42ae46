"""The mails of the integration demo, and who takes them."""

import asyncio
import json
import smtplib
from pathlib import Path
from string import Formatter

import pytest

from dev.integration import mailbox
from dev.integration.notifier import SUBJECTS, render

EVENTS = Path(__file__).resolve().parents[3] / "docs" / "events"
NOTICE = {
    "invoiceId": "01a1f857-5482-7274-a223-74af942aa356",
    "customerId": "acme-corp",
    "period": "2026-05",
    "currency": "KRW",
    "total": 12_000,
    "step": 1,
    "failureCode": "insufficient_funds",
    "nextAttemptAt": None,
}
HEADERS = {"ce_type": "billing.overdue.notice", "ce_id": "e-1"}


@pytest.mark.parametrize("topic", sorted(SUBJECTS))
def test_a_mail_says_only_what_every_event_of_its_topic_has(topic: str) -> None:
    schema = json.loads((EVENTS / f"{topic}.json").read_text())

    said = {name for _, name, _, _ in Formatter().parse(SUBJECTS[topic]) if name}

    assert said - {"sum"} <= set(schema["required"])
    assert {"customerId", "currency"} <= set(schema["required"])
    assert {"total", "amount"} & set(schema["required"])


async def test_a_mail_arrives_as_it_was_sent_dots_included() -> None:
    mail = render(HEADERS, NOTICE)
    mail.set_content("one\n.\n..two\nthree\n")

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", sink.port) as server:
            server.send_message(mail)
            server.send_message(mail)

    async with mailbox.serving() as sink:
        await asyncio.to_thread(send)

    first, second = sink.to("acme-corp@example.com")
    for received in (first, second):
        assert received["Message-ID"] == "<e-1@example.com>"
        assert received["Subject"] == (
            "Your card was declined (insufficient_funds): 12,000 KRW for 2026-05"
        )
        assert received.get_content().splitlines() == ["one", ".", "..two", "three"]
    assert sink.to("somebody@example.com") == []


async def test_a_mail_of_which_the_end_is_missing_is_none() -> None:
    async with mailbox.serving() as sink:
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        assert await reader.readline() == mailbox.READY
        writer.write(b"DATA\r\nTo: acme-corp@example.com\r\n")
        assert await reader.readline() == mailbox.GO_ON
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()

    assert sink.received == []
