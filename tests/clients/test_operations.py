"""Every operation that is written for TensorFlow, in the versions that DeepImageJ ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.clients.environments import (
    TENSORFLOW_1_15,
    TENSORFLOW_2_7,
    Environment,
    needs_environments,
)
from tests.clients.running import SAVED_MODEL, Arrays, run
from tests.operations import cases
from w2s_export.formats.saved_model import saved_model

pytestmark = needs_environments

# Measured: 9e-7 of the range.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[Path], Arrays]]:
    """By case: its SavedModel and inputs, and what ONNX Runtime gives."""
    import onnxruntime

    folder = tmp_path_factory.mktemp("operations")
    found = {}
    for i, case in enumerate(cases()):
        session = onnxruntime.InferenceSession(
            case.graph.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        batches = {str(k): batch for k, batch in enumerate(case.batches())}
        np.savez(folder / f"{i}.npz", **batches)
        model = folder / f"{i}.zip"
        model.write_bytes(saved_model(case.graph))
        expected = {k: session.run(None, {"input": batch})[0] for k, batch in batches.items()}
        found[case.name] = ([model, folder / f"{i}.npz"], expected)
    return found


@pytest.mark.parametrize("environment", [TENSORFLOW_1_15, TENSORFLOW_2_7], ids=lambda e: e.name)
def test_old_tensorflow_gives_what_onnx_runtime_gives(
    environment: Environment, written: dict[str, tuple[list[Path], Arrays]], tmp_path: Path
) -> None:
    jobs = [list(files) for files, _ in written.values()]
    results = run(environment, environment.name, SAVED_MODEL, jobs, tmp_path)
    differences = {}
    for (name, (_, expected)), actual in zip(written.items(), results, strict=True):
        assert {k: a.shape for k, a in actual.items()} == {k: e.shape for k, e in expected.items()}
        differences[name] = max(
            float(np.abs(actual[k] - e).max() / max(np.ptp(e), 1)) for k, e in expected.items()
        )
    worst = max(differences, key=differences.__getitem__)
    print(f"{environment.name}: {differences[worst]:.1e} of the range ({worst})")
    assert differences[worst] <= TOLERANCE
