"""The program itself: killed, restarted, stopped, and started wrongly."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.conditions import PATIENCE_SECONDS, eventually_beside_the_loop

if TYPE_CHECKING:
    from tests.dev.simulator.conftest import Gateway, StartGateway


def test_a_kill_loses_no_money_no_key_and_no_late_capture(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    paid = gateway.charge("paid")
    gateway.behave("charge", "late-capture", orderId="soon", seconds=0.5)
    gateway.behave("charge", "late-capture", orderId="far", seconds=3600)
    for order in ("soon", "far"):
        gateway.charge_in_vain(order)
    gateway.until_the_queue_is_empty()

    gateway.stop(signal.SIGKILL)
    gateway.start()

    assert gateway.charge("paid").content == paid.content
    assert gateway.charge("far").json()["code"] == "in-progress"
    assert gateway.inquire("far").status_code == 404
    eventually_beside_the_loop(lambda: gateway.inquire("soon").status_code == 200)
    assert gateway.charge("soon").status_code == 201
    assert len(gateway.payments()) == 2


def test_it_stops_at_once_although_it_keeps_callers_waiting(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    gateway.behave("charge", "hold-answer", orderId="held")
    gateway.behave("charge", "slow", orderId="slow", seconds=3600)
    gateway.behave("charge", "late-capture", orderId="late", seconds=3600)
    waiting = [threading.Thread(target=_call_in_vain, args=(gateway, order)) for order in _WAITING]
    for thread in waiting:
        thread.start()
    gateway.until_the_queue_is_empty()

    gateway.stop()  # Which waits, but not for an hour.

    for thread in waiting:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    gateway.start()
    assert [payment["orderId"] for payment in gateway.payments()] == ["held"]


_WAITING = ("held", "slow", "late")


def _call_in_vain(gateway: Gateway, order: str) -> None:
    body = {"orderId": order, "amount": 1, "currency": "KRW", "billingKey": "bk_4242424242424242"}
    with httpx2.Client(base_url=gateway.url) as client, pytest.raises(httpx2.TransportError):
        client.post("/v1/charges", json=body, headers={"Idempotency-Key": order}, timeout=3600)


def test_a_wrong_option_is_named_and_nothing_starts(tmp_path: Path) -> None:
    wrong = {
        "--time-scale must be above 0": ["--time-scale", "nan"],
        "add up to more than 1": ["--mix", '{"charge.decline": 0.6, "lose-answer": 0.6}'],
        "unable to open database file": ["--book", str(tmp_path / "no" / "such" / "book")],
    }
    command = [sys.executable, "-m", "dev.simulator", "--port", "0"]
    command += ["--book", str(tmp_path / "book.sqlite")]
    root = Path(__file__).parents[3]
    programs = {
        message: subprocess.Popen(
            [*command, *arguments], stderr=subprocess.PIPE, text=True, cwd=root
        )
        for message, arguments in wrong.items()
    }
    for message, program in programs.items():
        _, errors = program.communicate(timeout=PATIENCE_SECONDS)
        assert (program.returncode, message in errors) == (2, True), errors
