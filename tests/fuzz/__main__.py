"""`python -m tests.fuzz weights|packages|images --count N --seed S [--quick] [--keep FOLDER]`.

Mutates good files of every format and reads each. A fault is a traceback, a check of ours that
broke, more than `SECONDS`, more than `MEMORY` or a message that is too long or steers a terminal.
Faults are printed with their seed, which makes them again, and their files kept in FOLDER. Exit
code 1 if there are any.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.subjects import SUBJECTS, attempt, chosen, damage, originals


def main(arguments: list[str]) -> int:
    """Run the mutations; print what they came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("subject", choices=sorted(SUBJECTS))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="name of one of the good files")
    parser.add_argument("--quick", action="store_true", help="without what takes seconds to read")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"))
    given = parser.parse_args(arguments)
    outcomes: Counter[str] = Counter()
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        folder = Path(temporary)
        made = originals(given.subject, folder, slow=not given.quick)
        files = [file for file in made if given.only in (None, file.path.name)]
        (folder / "cases").mkdir()
        began = time.monotonic()
        for number in range(given.count):
            file, seed = chosen(files, number), given.seed + number
            path = damage(file, seed, folder / "cases")
            result = attempt(file, path)
            outcomes[f"{file.path.name}: {result.kind}"] += 1
            slowest = max(slowest, (result.seconds, f"{file.path.name} seed {seed}"))
            if result.fault:
                _keep(path, given.keep / f"{seed}-{file.path.name}")
                print(f"FAULT {file.path.name} seed {seed}: {result.fault}", flush=True)
            if number % 1000 == 999:
                print(f"{number + 1} in {time.monotonic() - began:.0f} s", flush=True)
    for name, count in sorted(outcomes.items()):
        print(f"{count:6} {name}")
    print(
        f"{given.count} {given.subject} in {time.monotonic() - began:.0f} s; the slowest took "
        f"{slowest[0]:.1f} s of processor time ({slowest[1]})"
    )
    return int(any(name.endswith("fault") for name in outcomes))


def _keep(path: Path, place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, place, dirs_exist_ok=True)
    else:
        shutil.copyfile(path, place)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
