"""The Dockerfile without an engine: its context, and its commands in a folder instead of a root."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Dockerfile"
_ABSOLUTE = re.compile(r"(?<![\w./-])/(?=(?:venv|app|data|usr)\b)")


@dataclass(frozen=True)
class Instruction:
    """`RUN …`, without what breaks its line."""

    name: str
    words: str


def instructions() -> list[Instruction]:
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [Instruction(*re.split(r"\s+", line, maxsplit=1)) for line in whole if line.strip()]


def last_stage() -> list[Instruction]:
    found = instructions()
    begins = max(place for place, each in enumerate(found) if each.name == "FROM")
    return found[begins:]


def context() -> Iterator[Path]:
    """What `COPY . .` copies, by the names that the .dockerignore lets in."""
    lines = FILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    for name in (line.removeprefix("!") for line in lines if line.startswith("!")):
        path = ROOT / name
        yield from [path] if path.is_file() else (each for each in path.rglob("*"))


def copy_context(into: Path) -> None:
    for path in context():
        if path.is_file() and "__pycache__" not in path.parts:
            place = into / path.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)


@dataclass(frozen=True)
class Image:
    """A folder that stands for the root of the image."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """No variable of ours, and none that leads an import out of the folder."""
        path = f"{self.root / 'venv' / 'bin'}:/usr/bin:/bin"
        return {"PATH": path, "HOME": str(self.root), "LANG": "C.UTF-8"}

    def run(self, command: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """A command of the shell in /app; what is absolute is below the folder."""
        return subprocess.run(
            ["sh", "-c", _ABSOLUTE.sub(f"{self.root}/", command)],
            cwd=self.root / "app",
            env={**self.environment, **more},
            capture_output=True,
            text=True,
        )

    def billing(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """What its entry point does."""
        return self.run(" ".join(["python", "-m", "cli.main", *arguments]), **more)


def made_with_what_is_installed(root: Path) -> Image:
    """The sources of the context beside the packages of this environment, not beside our checkout:
    a path in a .pth file does not follow those that it finds there."""
    image = Image(root)
    (root / "app").mkdir()
    copy_context(root / "app")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
    [packages] = (root / "venv").glob("lib/python*/site-packages")
    [ours] = {Path(each) for each in sys.path if each.endswith("site-packages")}
    (packages / "installed.pth").write_text(f"{ours}\n")
    return image


def is_root() -> bool:
    return os.geteuid() == 0
