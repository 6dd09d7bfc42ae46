"""`make clean`: all data of this checkout, and nothing else."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import clean, postgres, process
from dev.process import StackError
from dev.stack import LOCK, alone, temporary_prefix


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data of a checkout, with a cluster of PostgreSQL wherever it belongs."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    directory = tmp_path / "checkout" / ".data"
    directory.mkdir(parents=True)
    process.stop([postgres.start(directory, process.free_port(), postgres.RELAXED)])
    yield directory
    postgres.remove_data(directory)


def test_all_data_go_also_those_outside(data: Path, tmp_path: Path) -> None:
    of_a_killed_demo = tmp_path / "tmp" / f"{temporary_prefix()}x1"
    of_another_checkout = tmp_path / "tmp" / "billing-00000000-x1"
    for each in (of_a_killed_demo, of_another_checkout):
        each.mkdir()
        (each / "worker.log").touch()
    cluster = postgres.data_directory(data)
    assert cluster.exists()
    of_this_machine = postgres.data_directory(data / "real")
    of_this_machine.mkdir(parents=True)
    (data / "real").mkdir(exist_ok=True)

    removed = list(clean.clean(data))

    assert removed[-2:] == [data, of_a_killed_demo]
    assert cluster in removed or cluster.is_relative_to(data)
    assert not any(each.exists() for each in (data, cluster, of_this_machine, of_a_killed_demo))
    assert of_another_checkout.exists()
    assert list(clean.clean(data)) == []


@pytest.mark.parametrize("which", ["make dev", "a demo"])
def test_nothing_is_removed_while_a_stack_runs(data: Path, tmp_path: Path, which: str) -> None:
    demo = tmp_path / "tmp" / f"{temporary_prefix()}x1"
    runs = data if which == "make dev" else demo
    with alone(runs / LOCK, "unused"):
        with pytest.raises(StackError, match=f"a stack runs with its data in {runs}: stop it"):
            list(clean.clean(data))
        assert postgres.data_directory(data).exists()


def test_a_link_to_other_data_is_not_followed(data: Path, tmp_path: Path) -> None:
    link = tmp_path / "another checkout"
    link.symlink_to(data)

    with pytest.raises(StackError, match="is a link to"):
        list(clean.clean(link))

    assert data.exists()


def test_it_says_what_it_removes(data: Path) -> None:
    def said() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dev.clean"],
            capture_output=True,
            text=True,
            check=True,
            cwd=data.parent,
            env=process.python_environment() | {"TMPDIR": str(data.parents[1] / "tmp")},
        )
        return done.stdout

    assert "Removed .data\n" in said()
    assert "There are no data.\n" in said()
