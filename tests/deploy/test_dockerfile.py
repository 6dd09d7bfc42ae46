"""The image: what is copied into it is all that its processes need, and nobody is root there.

No engine is here. `make test-image` runs every command of the Dockerfile, in a folder.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.version import VERSION
from tests.support.conditions import PATIENCE_SECONDS
from tests.support.dockerfile import FILE, Image, instructions, last_stage
from tests.support.dockerfile import made_with_what_is_installed as made
from tests.support.threads import beside_the_loop

EVERYTHING = """
from importlib import import_module
import worker, cli.main, api.app, api.codec_server, auth.app, dev.simulator.__main__
for name in cli.main.OPERATORS:
    import_module(f"cli.{name.replace('-', '_')}")
print(cli.main.__file__)
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return made(tmp_path_factory.mktemp("image"))


@beside_the_loop
def test_a_linter_finds_nothing(tmp_path: Path) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([linter, FILE], capture_output=True, text=True, timeout=PATIENCE_SECONDS)

    assert (found.returncode, found.stdout) == (0, "")


@beside_the_loop
def test_every_module_that_a_process_imports_is_in_the_context(image: Image) -> None:
    (image.root / "everything.py").write_text(EVERYTHING)

    # As its entry point does, from /app: the folder of a script would be looked at first.
    ran = image.run("python -c 'exec(open(\"../everything.py\").read())'")

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == str(image.root / "app" / "cli" / "main.py")


@pytest.mark.parametrize("process", ["api", "worker", "auth"])
@beside_the_loop
def test_each_process_gets_as_far_as_its_settings(image: Image, process: str) -> None:
    ran = image.billing(process)

    assert ran.returncode == 1
    assert "PAYLOAD_KEYS" in ran.stderr
    assert "Traceback" not in ran.stderr


@beside_the_loop
def test_it_has_the_migrations(image: Image) -> None:
    owner = "postgresql://billing_owner@127.0.0.1:9/billing"

    ran = image.billing("migrate", DATABASE_OWNER_URL=owner)

    assert ran.returncode == 1
    assert ran.stderr.startswith("billing: The database cannot be used: nobody answers.")


def test_nobody_is_root_in_it_and_it_says_what_it_is() -> None:
    found = [(each.name, each.words) for each in last_stage()]
    users = [words for name, words in found if name == "USER"]

    assert users == ["10001:10001"]
    assert ("ARG", f"VERSION={VERSION}") in found
    assert ("ENTRYPOINT", '["python", "-m", "cli.main"]') in found


def test_its_base_is_one_patch_of_python_for_all_stages() -> None:
    found = instructions()

    [base] = [each.words for each in found if each.words.startswith("BASE=")]
    assert re.fullmatch(r"BASE=python:3\.\d+\.\d+-slim-[a-z]+", base)
    assert {each.words.split()[0] for each in found if each.name == "FROM"} == {"${BASE}"}
