"""Export a checkpoint of your own from Python, and look at what was proven.

python examples/01_export.py WEIGHTS SAMPLE.tif OUTPUT
"""

import sys
from pathlib import Path

import w2s_export as w2s


def main(weights: Path, sample: Path, output: Path) -> int:
    result = w2s.export(weights, sample=sample, output=output, progress=print)
    for row in result.report.parity:
        print(f"{row.subject:40} {row.case:30} {row.max_relative:.1e} of the range")
    print("all holds" if result.report.passed else f"faults: {result.report.findings}")
    return 0 if result.report.passed else 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
