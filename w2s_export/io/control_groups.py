"""Linux's control groups, by which containers and batch systems limit their processes."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
"""A line for each hierarchy: number, its controllers, this process's group. Version 2 has one
hierarchy, 0, and names no controllers."""


def groups(controller: str) -> list[Path]:
    """Folders of the groups that limit this process: its own and all above it, to the root.

    Inside a container its own is the root. A folder may be missing: of a controller that is off, of
    a version that is not in use, or where a container hides what is above it.
    """
    try:
        lines = OWN.read_text().splitlines()
    except OSError:  # another system
        return []
    found: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = ROOT / controller if controllers else ROOT
        names = [part for part in path.split("/") if part]
        if ".." in names:  # it lies outside of what the container shows
            names = []
        found += [root.joinpath(*names[:depth]) for depth in range(len(names), -1, -1)]
    return found
