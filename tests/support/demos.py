"""The demos as a newcomer runs them."""

import subprocess
import sys
from pathlib import Path

from dev import process

MISLEADING = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x", "LOG_LEVEL": "ERROR"}


def start(directory: Path, command: str) -> "subprocess.Popen[str]":
    """A demo, with its temporary files in `directory` and ways to other systems in its way."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
        env={
            **process.python_environment(),
            **MISLEADING,
            "TMPDIR": str(directory),
            "TEMPORAL_DEBUG": "",  # ours (tests/conftest.py)
        },
    )
