"""Restore every image of a folder from Python, with a package that an export made.

python examples/03_restore.py PACKAGE.zip FOLDER OUTPUT

The command line does the same: w2s-export restore FOLDER --package PACKAGE.zip --output OUTPUT
"""

import sys
from pathlib import Path

import w2s_export as w2s


def main(package: Path, folder: Path, output: Path) -> int:
    # 16-bit counts state their scale, which Fiji shows as the calibration of the pixel values.
    outcomes = w2s.restore(folder, package=package, output=output, dtype="uint16", memory="1GB")
    for outcome in outcomes:
        print(outcome.source, outcome.status.value, outcome.reason or outcome.target)
    return sum(outcome.status.value == "failed" for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
