"""Restore every image of a folder from Python, with a package that an export made.

python examples/03_restore.py PACKAGE.zip FOLDER OUTPUT

The command line does the same: w2s-export restore FOLDER --package PACKAGE.zip --output OUTPUT
"""

import sys
from pathlib import Path

from w2s_export.package.network import read_package
from w2s_export.restore.batch import restore_files
from w2s_export.restore.image import Options
from w2s_export.restore.inputs import find


def main(package: Path, folder: Path, output: Path) -> int:
    network = read_package(package)
    found = find([str(folder)], output)
    # 16-bit counts state their scale, which Fiji shows as the calibration of the pixel values.
    options = Options(dtype="uint16", memory=10**9)
    outcomes = restore_files(found.images, output, network.model, network.open, options)
    for outcome in outcomes:
        print(outcome.source, outcome.status.value, outcome.reason or outcome.target)
    return sum(outcome.status.value == "failed" for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
