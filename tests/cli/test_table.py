"""Columns on a terminal, where a row is a line whatever others wrote."""

import asyncio
import os
import pty
import subprocess
import sys
from pathlib import Path

from dev import process

PROGRAM = """
from cli.table import tell
tell(["id", "reason"], [["a-1", "short"], ["a-22", "고객이 카드를 잃어버렸다 and more"]], [])
"""


async def test_a_terminal_shows_as_much_of_a_row_as_it_has_room_for(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    telling = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM),
        stdout=theirs,
        env=process.python_environment() | {"COLUMNS": "20", "PYTHONPATH": str(Path.cwd())},
    )
    os.close(theirs)
    assert await telling.wait() == 0
    said = os.read(ours, 4096).decode().replace("\r\n", "\n")
    os.close(ours)
    assert "a-1   short\na-22  고객이 카드를…\n" in said


async def test_a_file_gets_all_of_it(tmp_path: Path) -> None:
    telling = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM),
        stdout=subprocess.PIPE,
        env=process.python_environment() | {"COLUMNS": "20", "PYTHONPATH": str(Path.cwd())},
    )
    stdout, _ = await telling.communicate()

    assert stdout.decode().splitlines() == [
        "id    reason",
        "a-1   short",
        "a-22  고객이 카드를 잃어버렸다 and more",
    ]
