"""A system that writes to customers: it follows our events on Kafka, and sends a mail for each.

    python -m dev.integration.notifier --kafka SERVERS --smtp-port PORT

At least once is what the topics promise: an event is committed when its mail is sent, and the
mail's id is the event's, so that one that was sent twice can be told.
"""

import argparse
import json
import logging
import smtplib
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any

from confluent_kafka import Consumer, Message

from domain.event import Topic
from domain.money import format_amount

GROUP = "notifications"
SENDER = "billing@example.com"
SUBJECTS: Mapping[str, str] = {
    Topic.INVOICE_CREATED: "Your invoice for {period}: {sum}, to be paid by {dueAt:.10}",
    Topic.PAYMENT_COMPLETED: "We have received {sum}",
    Topic.INVOICE_PAID: "Your invoice is paid: {sum}",
    Topic.INVOICE_OVERDUE: "Your invoice for {period} is overdue: {sum}",
    Topic.OVERDUE_NOTICE: "Your card was declined ({failureCode}): {sum} for {period}",
}
"""What customers are told of, in the words of the mail."""
READY = "the notifier follows its topics"

log = logging.getLogger(__name__)


def address_of(customer_id: str) -> str:
    """Where a customer reads mail; a real system would ask whoever knows."""
    return f"{customer_id}@example.com"


def render(headers: Mapping[str, str], event: Mapping[str, Any]) -> EmailMessage:
    """The mail about an event."""
    amount = event["total"] if "total" in event else event["amount"]
    mail = EmailMessage()
    mail["From"] = SENDER
    mail["To"] = address_of(event["customerId"])
    money = format_amount(amount, event["currency"])
    mail["Subject"] = SUBJECTS[headers["ce_type"]].format_map({**event, "sum": money})
    mail["Message-ID"] = f"<{headers['ce_id']}@example.com>"
    mail["X-Event"] = headers["ce_type"]
    mail.set_content("\n".join(f"{name}: {value}" for name, value in event.items()))
    return mail


def _headers(message: Message) -> dict[str, str]:
    received: Any = message.headers()  # a list of (str, bytes) when it comes from a broker
    return {name: value.decode() for name, value in received}


def main() -> None:
    """Follow the topics until the process is terminated."""
    parser = argparse.ArgumentParser(prog="python -m dev.integration.notifier")
    parser.add_argument("--kafka", required=True, help="the brokers' addresses")
    parser.add_argument("--smtp-port", type=int, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    consumer = Consumer(
        {
            "bootstrap.servers": arguments.kafka,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([*SUBJECTS], on_assign=lambda *_: log.info(READY))
    while True:
        message = consumer.poll(0.5)
        if message is None or message.error() is not None:
            continue
        mail = render(_headers(message), json.loads(message.value() or b""))
        with smtplib.SMTP("127.0.0.1", arguments.smtp_port) as server:
            server.send_message(mail)
        consumer.commit(message=message, asynchronous=False)
        log.info("sent %s: %s", mail["Message-ID"], mail["Subject"])


if __name__ == "__main__":
    main()
