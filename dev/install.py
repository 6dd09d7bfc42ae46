"""Install hash-locked packages with uv, and say how much is still to come.

    python -m dev.install REQUIREMENTS_FILE

uv draws bars for a terminal only; for everybody else it names what it downloads. Only the standard
library: this runs before anything is installed.
"""

import re
import ssl
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from dev.alive import signs_of_life

BIN = Path(".venv/bin")
UV = [str(BIN / "uv"), "pip", "install", "--python", str(BIN / "python")]
_BEGINS = re.compile(r"Downloading (\S+) \(([\d.]+)(Ki|Mi|Gi)?B\)\s*")
_ENDS = re.compile(r" *(?:Downloaded|Built) (\S+).*\s*")
_LISTED = re.compile(r" [+~-] .*\s*")
_MEBIBYTES = {None: 2**-20, "Ki": 2**-10, "Mi": 1, "Gi": 2**10}


def main() -> int:
    """Run uv; returns its exit code."""
    # Compiled at once: else every process of the first run would do so for itself, and where Python
    # may not write it, every process of every run.
    command = [*UV, "--compile-bytecode", "--require-hashes", "-r", sys.argv[1]]
    if ssl.create_default_context().get_ca_certs():
        command.append("--system-certs")  # as pip does: there may be one of a proxy among them
    with (
        signs_of_life() as voice,
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running,
    ):
        assert running.stderr is not None
        for line in told(running.stderr):
            voice.write(f"  {line}\n")
            voice.flush()
    return running.returncode


def told(lines: Iterable[str]) -> Iterable[str]:
    """What uv says, without the list of everything at the end, and with what is left."""
    left: dict[str, float] = {}
    for line in lines:
        if begun := _BEGINS.fullmatch(line):
            name, size, unit = begun.groups()
            left[name] = float(size) * _MEBIBYTES[unit]
        elif (ended := _ENDS.fullmatch(line)) and left.pop(ended[1], None):
            yield f"{ended[1]} is here, {sum(left.values()):.0f} MiB to go"
        elif not _LISTED.fullmatch(line):
            yield line.strip()


if __name__ == "__main__":
    sys.exit(main())
