"""ImageJ, Debian's, on a virtual display: without one it refuses `run(...)`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

JAR = Path("/usr/share/java/ij.jar")
needs_imagej = pytest.mark.skipif(
    not JAR.is_file() or not all(shutil.which(tool) for tool in ("java", "xvfb-run")),
    reason="needs ImageJ: apt-get install imagej xvfb",
)


QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""A virtual machine that lives for a second compiles nothing twice, and collects in one thread."""


def imagej(folder: Path, macro: str, argument: Path | str) -> str:
    """Run a macro; what it printed."""
    (folder / "driver.ijm").write_text(macro)
    command = ["xvfb-run", "-a", "java", *QUICK, "-Xmx1g", "-cp", str(JAR), "ij.ImageJ", "-batch"]
    done = subprocess.run(
        [*command, str(folder / "driver.ijm"), str(argument)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout
