"""`python -m dev.clean`: remove the data of this checkout's stacks, wherever they lie.

That is `.data`, and what a killed demo, benchmark or test, or one that failed, has left in the
temporary directory. Nothing of another checkout is touched: its temporary directories have another
name. Only the standard library, as for all of `dev.stack`.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from dev import postgres, process
from dev.process import StackError
from dev.stack import LOCK, alone, temporary_prefix

DATA = Path(".data")
REAL = "real"
"""Below it: the data of the servers of this machine, see `make real`."""


def main() -> None:
    """Say what is removed; exit code 1 with a sentence when something of it is in use."""
    found = False
    try:
        for path in clean(DATA):
            found = True
            sys.stdout.write(f"Removed {path}\n")
    except StackError as error:
        sys.exit(f"make clean: {error}")
    except OSError as error:
        sys.exit(f"make clean: {error.filename} cannot be removed: {error.strerror}.")
    if not found:
        sys.stdout.write("There are no data.\n")
    if postgres.shared_binaries():
        sys.stdout.write(
            f"The copies of PostgreSQL's binaries in {postgres.ROOT_HOME} stay: every checkout of "
            "root's uses them.\n"
        )


def clean(data: Path) -> Iterator[Path]:
    """Remove everything and tell each; raises StackError before anything is removed when one of
    the stacks runs."""
    if data.is_symlink():
        raise StackError(f"{data} is a link to {data.resolve()}: remove it by hand.")
    directories = [each for each in (data / REAL, data, *_temporary()) if each.exists()]
    with ExitStack() as nobody_runs:
        for directory in directories:
            refusal = f"a stack runs with its data in {directory}: stop it first."
            nobody_runs.enter_context(alone(directory / LOCK, refusal))
            for log in directory.glob("*.log"):
                nobody_runs.enter_context(process.lock_log(log, log.stem))
        for directory in directories:
            yield from _removed(directory)


def _temporary() -> list[Path]:
    return sorted(Path(tempfile.gettempdir()).glob(f"{temporary_prefix()}*"))


def _removed(directory: Path) -> Iterator[Path]:
    """Outside first: what lies there is found by the directory's name."""
    for path in (*postgres.data_directories(directory), directory):
        if path.exists():
            shutil.rmtree(path)
            yield path


if __name__ == "__main__":
    main()
