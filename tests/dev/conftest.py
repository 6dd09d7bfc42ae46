import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import postgres


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A data directory with a space in its path, below one that only its owner may enter."""
    private = tmp_path / "home of a user"
    private.mkdir(mode=0o700)
    yield private / "data"
    shutil.rmtree(postgres.data_directory(private / "data"), ignore_errors=True)
