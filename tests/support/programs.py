"""Programs of others, which tests ask to judge what we wrote."""

import asyncio
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_SOURCES = Path(__file__).parent
_INSTALLED = Path(__file__).parents[2] / ".venv"


async def run(*command: object, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its end, whatever that is, in a directory; others go on meanwhile."""
    words = [str(each) for each in command]

    def whole() -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)

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


GET = "org.apache.maven.plugins:maven-dependency-plugin:2.8:get"


def from_maven(group: str, name: str, version: str, sha256: str, untested: str) -> Path:
    """The folder that a zip of this name holds, in `.venv`; fails where it cannot be had, or is
    another one. Skips, loudly, where there is no Java or no Maven: `untested` says what is then not
    tested."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        pytest.skip(f"{untested}: java and mvn are not here")
    folder = _INSTALLED / f"{name}-{version}"
    if folder.exists():
        return folder
    repository = _INSTALLED / "maven"
    artifact = f"-Dartifact={group}:{name}:{version}:zip"
    where = f"-Dmaven.repo.local={repository}"
    command = ["mvn", "--batch-mode", "--quiet", where, GET, "-Dtransitive=false", artifact]
    getting = subprocess.run(command, capture_output=True, text=True, check=False)
    assert getting.returncode == 0, f"Maven could not get {artifact}: {getting.stdout[-500:]}"
    file = repository / group.replace(".", "/") / name / version / f"{name}-{version}.zip"
    with file.open("rb") as archive:
        found = hashlib.file_digest(archive, "sha256").hexdigest()
    assert found == sha256, f"{file} is not what was locked"
    with tempfile.TemporaryDirectory(dir=_INSTALLED) as half:
        shutil.unpack_archive(file, half)
        (only,) = Path(half).iterdir()
        # Whole or not at all, also for who ends this in the middle.
        only.rename(folder)
    return folder
