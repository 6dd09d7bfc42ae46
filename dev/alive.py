"""A sign of life: as long as nothing is said, a dot every second.

    python -m dev.alive COMMAND ...    run a command that may be silent for long

Only the standard library: `make` needs it before anything is installed.
"""

import codecs
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

SILENCE_SECONDS = 1.0


class Voice:
    """Standard output that does not fall silent; what is not about writing is its stream's."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._dots = False
        self._quiet = False
        self._last = clock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Pass the text on, on a line of its own. When nobody reads any more it is lost: whoever
        speaks goes on with its work, above all with stopping what it has started."""
        with self._lock, suppress(OSError):
            self._end_the_dots()
            self._last = self._clock()
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._lock, suppress(OSError):
            self._stream.flush()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """No dots for the length of the block: silence means that all is well."""
        self._be_quiet(True)
        try:
            yield
        finally:
            self._be_quiet(False)

    def dot_when_silent(self) -> None:
        with self._lock, suppress(OSError):
            now = self._clock()
            if not self._quiet and now - self._last >= SILENCE_SECONDS:
                self._stream.write(".")
                self._stream.flush()
                self._dots, self._last = True, now

    def _be_quiet(self, quiet: bool) -> None:
        with self._lock, suppress(OSError):
            self._end_the_dots()
            self._quiet, self._last = quiet, self._clock()

    def _end_the_dots(self) -> None:
        if self._dots:
            self._stream.write("\n")
            self._dots = False


@contextmanager
def signs_of_life() -> Iterator[Voice]:
    """Standard output shows a dot for every second of the block in which nothing is printed."""
    voice = Voice(sys.stdout)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(SILENCE_SECONDS / 4):
            voice.dot_when_silent()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        with redirect_stdout(voice):
            yield voice
    finally:
        done.set()
        thread.join()
        voice.write("")
        voice.flush()


def main() -> int:
    """Run a command and pass on what it says; returns its exit code."""
    command = sys.argv[1:]
    # It writes into a pipe, but what comes out of it is read where we write.
    colour = {"FORCE_COLOR": "1"} if sys.stdout.isatty() else {}
    try:
        with (
            signs_of_life() as voice,
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **colour},
            ) as running,
        ):
            assert running.stdout is not None
            decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
            while chunk := os.read(running.stdout.fileno(), 65_536):
                voice.write(decoder.decode(chunk))
                voice.flush()
    except OSError as error:
        sys.exit(f"{command[0]} cannot run: {error.strerror}.")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    status = running.returncode
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
