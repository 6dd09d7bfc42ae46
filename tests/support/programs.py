"""Programs of others, which tests ask to judge what we wrote."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCES = Path(__file__).parent
_INSTALLED = Path(__file__).parents[2] / ".venv"


async def run(*command: object) -> subprocess.CompletedProcess[str]:
    """Run it to its end, whatever that is; others go on meanwhile."""
    words = [str(each) for each in command]

    def whole() -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, check=False)

    return await asyncio.to_thread(whole)


def from_npm(name: str, into: str, untested: str) -> Path:
    """The folder `name` beside this file with what its lock names, in `.venv`. Skips, loudly, where
    there is no Node.js or no package registry: `untested` says what is then not tested."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip(f"{untested}: node and npm are not here")
    folder = _INSTALLED / into
    shutil.copytree(_SOURCES / name, folder, dirs_exist_ok=True)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    installing = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if installing.returncode != 0:
        pytest.skip(f"{untested}: npm ci failed: {installing.stderr[-500:]}")
    return folder
