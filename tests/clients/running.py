"""Running scripts in environments, one process for all their files."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from tests.clients.environments import Environment, clean_variables, python_of

ONNX, SAVED_MODEL, PIPELINE = "run_onnx.py", "run_saved_model.py", "run_core.py"
HERE = Path(__file__).resolve().parent

Arrays = dict[str, np.ndarray]


def run(
    environment: Environment, announced: str, script: str, jobs: list[list[Any]], folder: Path
) -> list[Arrays]:
    """What each job gives.

    announced: the runtime and version that the script must find.
    jobs: the script's arguments but for the last of each, the file of outputs.
    """
    outputs = [folder / f"outputs_{i}.npz" for i in range(len(jobs))]
    arguments = [part for job, output in zip(jobs, outputs, strict=True) for part in (*job, output)]
    finished = subprocess.run(
        [python_of(environment), HERE / script, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,  # core unzips weights where it is
        env={
            **clean_variables(),
            "BIOIMAGEIO_CACHE_PATH": str(folder / "cache"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.splitlines()[-1] == announced
    results = []
    for output in outputs:
        with np.load(output) as archive:
            results.append(dict(archive))
    return results


def largest_difference(actual: Arrays, expected: Arrays) -> float:
    """Over all cases, part of the expected output's range."""
    assert sorted(actual) == sorted(expected)
    for case, output in expected.items():
        assert actual[case].shape == output.shape
        assert actual[case].dtype == np.float32
    return max(
        float(np.abs(actual[case] - output).max() / np.ptp(output))
        for case, output in expected.items()
    )
