"""`python -m tests.fuzz weights|packages|images --count N --seed S [--keep FOLDER]`.

Mutates good files of every format and reads each. A fault is a traceback, more than `SECONDS`, more
than `MEMORY` or a message that is too long or steers a terminal. Faults are printed with their
seed, which makes them again, and their files kept in FOLDER. Exit code 1 if there are any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.subjects import SUBJECTS, attempt, mutated, originals


def main(arguments: list[str]) -> int:
    """Run the mutations; print what they came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("subject", choices=sorted(SUBJECTS))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="name of one of the good files")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"))
    given = parser.parse_args(arguments)
    outcomes: Counter[str] = Counter()
    slowest = (0.0, "")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        folder = Path(temporary)
        files = [
            file for file in originals(given.subject, folder) if given.only in (None, file.name)
        ]
        for number in range(given.count):
            file = files[number % len(files)]
            seed = given.seed + number
            path = folder / f"case{file.suffix}"
            path.write_bytes(mutated(file.read_bytes(), seed))
            result = attempt(given.subject, path)
            outcomes[f"{file.name}: {result.kind}"] += 1
            slowest = max(slowest, (result.seconds, f"{file.name} seed {seed}"))
            if result.fault:
                given.keep.mkdir(exist_ok=True)
                (given.keep / f"{seed}-{file.name}").write_bytes(path.read_bytes())
                print(f"FAULT {file.name} seed {seed}: {result.fault}", flush=True)
    for name, count in sorted(outcomes.items()):
        print(f"{count:6} {name}")
    print(
        f"{given.count} {given.subject} in {time.monotonic() - began:.0f} s; the slowest took "
        f"{slowest[0]:.1f} s ({slowest[1]})"
    )
    return int(any(name.endswith("fault") for name in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
