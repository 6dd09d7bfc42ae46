"""`make test-image`: every command of the Dockerfile, in a folder that stands for its root.

What stands for the base is this machine's Python. It downloads what the image holds, some 60 MB.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dockerfile import ROOT, Image, copy_context, instructions, is_root
from tests.support.threads import beside_the_loop


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Built as the file says, instruction by instruction."""
    image = Image(tmp_path_factory.mktemp("image"))
    (image.root / "app").mkdir()
    base = image.root / "usr" / "local"
    _base(base)
    for each in instructions():
        if each.name == "RUN":
            ran = image.run(each.words, PATH=f"{base / 'bin'}:/usr/bin:/bin")
            assert ran.returncode == 0, f"{each.words}\n{ran.stdout}{ran.stderr}"
        elif (each.name, each.words) == ("COPY", "requirements.txt ."):
            shutil.copy2(ROOT / "requirements.txt", image.root / "app")
        elif (each.name, each.words) == ("COPY", ". ."):
            copy_context(image.root / "app")
        elif each.name == "COPY":
            # From one stage to the other: both are this folder.
            assert each.words in ("--from=build /venv /venv", "--from=build /app /app")
    return image


def _base(place: Path) -> None:
    """A Python with a pip that can be taken away."""
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    (place / "lib" / "python3.11" / "ensurepip").mkdir(parents=True, exist_ok=True)


@pytest.mark.skipif(
    not is_root(), reason="only root can give a folder away, as the Dockerfile does"
)
@beside_the_loop
def test_it_runs_and_cannot_install_anything(image: Image) -> None:
    said = image.billing("--version")
    pip = image.run("python -m pip --version")
    base = image.run("/usr/local/bin/python -m pip --version")

    assert said.stdout.startswith("billing ")
    assert "No module named pip" in pip.stderr
    assert "No module named pip" in base.stderr
    assert (image.root / "data").stat().st_uid == 10001
    assert list((image.root / "app").rglob("*.pyc"))
